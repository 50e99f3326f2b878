# SPDX-License-Identifier: Apache-2.0
"""The protocol core of VRRP: adverts and the state machine of an instance."""
