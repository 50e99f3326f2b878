# SPDX-License-Identifier: Apache-2.0
"""The firewall of a host as values, and what it does with one packet. Pure."""
