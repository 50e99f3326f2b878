# SPDX-License-Identifier: Apache-2.0
"""Texts of DR_CHECK: a handshake with a VIP at a real server's MAC address.

keepalived and ldirectord connect to the real server's own address. It answers even if the VIP is not on
lo, if no program listens on the VIP, or if a firewall drops requests for the VIP.
"""

from __future__ import annotations

from pointsman.model.address import Address, format_endpoint, resolution_protocol
from pointsman.model.checks import DirectCheck, Url


def success(check: DirectCheck, mac: bytes) -> str:
    """Return the reason of a success."""
    return f"handshake with {describe_target(check, mac)}"


def silence(check: DirectCheck, mac: bytes, source: Address) -> str:
    """Return the reason when there is no answer. It names the usual causes."""
    return (
        f"no answer to {source} within {check.connect_timeout:.1f} s from {describe_target(check, mac)}: "
        "check that the VIP is on its lo, and that no firewall drops the packet"
    )


def unresolved(check: DirectCheck) -> str:
    """Return the reason when no host has the real server's own address."""
    return (
        f"no answer to {resolution_protocol(check.connect_address)} for {check.connect_address} "
        f"within {check.connect_timeout:.1f} s"
    )


def refused(check: DirectCheck, mac: bytes) -> str:
    """Return the reason when the real server has the VIP and no program listens."""
    return f"connection refused by {describe_target(check, mac)}: no program listens on the VIP"


def describe_target(check: DirectCheck, mac: bytes) -> str:
    """Return `192.0.2.9:80 at 192.0.2.20 (02:00:00:00:00:02)`."""
    virtual = format_endpoint(check.virtual_address, check.connect_port)
    return f"{virtual} at {check.connect_address} ({mac.hex(':')})"


def host_header(check: DirectCheck, url: Url) -> str:
    """Return the Host header that a client would send."""
    return url.virtualhost or format_endpoint(check.virtual_address, check.connect_port)
