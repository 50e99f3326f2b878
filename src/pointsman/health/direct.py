"""DR_CHECK: a handshake with a VIP at a real server's MAC address, and what its outcomes are called.

keepalived and ldirectord ask the real server's own address. That says nothing about what clients use: a real
server without the VIP on lo, with nothing listening there, or with a firewall on it answers all the same.
"""

from __future__ import annotations

from pointsman.model.address import Address, format_endpoint, resolution_protocol
from pointsman.model.checks import DirectCheck, Url


def success(check: DirectCheck, mac: bytes) -> str:
    """The reason of an up verdict."""
    return f"handshake with {where(check, mac)}"


def silence(check: DirectCheck, mac: bytes, source: Address) -> str:
    """The reason when nothing answers; it names what is usually wrong."""
    return (
        f"no answer to {source} within {check.connect_timeout:.1f} s from {where(check, mac)}: "
        "is the VIP on its lo, and no firewall before it?"
    )


def unresolved(check: DirectCheck) -> str:
    """The reason when nobody has the real server's own address."""
    return (
        f"no answer to {resolution_protocol(check.connect_address)} for {check.connect_address} "
        f"within {check.connect_timeout:.1f} s"
    )


def refused(check: DirectCheck, mac: bytes) -> str:
    """The reason when the real server has the VIP and nothing listens."""
    return f"connection refused by {where(check, mac)}: nothing listens on the VIP"


def where(check: DirectCheck, mac: bytes) -> str:
    """`192.0.2.9:80 at 192.0.2.20 (02:00:00:00:00:02)`."""
    virtual = format_endpoint(check.virtual_address, check.connect_port)
    return f"{virtual} at {check.connect_address} ({mac.hex(':')})"


def host_of(check: DirectCheck, url: Url) -> str:
    """The value of the Host header: what a client would send."""
    return url.virtualhost or format_endpoint(check.virtual_address, check.connect_port)
