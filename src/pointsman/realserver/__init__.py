# SPDX-License-Identifier: Apache-2.0
"""Set-up of a real server for direct routing: the VIP on lo, ARP settings, and files for the next boot."""
