# SPDX-License-Identifier: Apache-2.0
"""The VRRP process: instances, adverts, addresses that move."""
