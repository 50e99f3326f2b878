# SPDX-License-Identifier: Apache-2.0
"""Read the facts of this host, and change an address, a link or an ARP setting.

All functions act on the network namespace of the calling process, as rtnetlink and /proc/sys/net do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from pointsman.model.address import Address
from pointsman.net import addresses, virtual_links
from pointsman.net.addresses import IFA_PROTOS_OF_VRRP, InterfaceAddress
from pointsman.net.host import Host, read_host
from pointsman.net.netlink import NetlinkSocket
from pointsman.realserver.facts import ArpKey, Facts, HostAddress, Interface, Route, SetupError
from pointsman.realserver.plan import REVERSE_PATH, WANTED

_SO_NETNS_COOKIE = 71


def namespace_identity() -> str:
    """Return boot id and network-namespace cookie, which unlike an inode is never reused (socket(7))."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            cookie = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0]
        except OSError:  # before Linux 5.14
            cookie = Path("/proc/self/ns/net").stat().st_ino
    return f"{boot}/{cookie}"


def read_facts() -> Facts:
    """Read the present interfaces, addresses, main routes and ARP settings. Raises OSError."""
    return _facts(read_host(routes=True, settings=(*WANTED, REVERSE_PATH)))


def _facts(host: Host) -> Facts:
    names = host.names()
    return Facts(
        interfaces=tuple(Interface(link.name, link.up, link.arp) for link in host.links),
        addresses=tuple(
            HostAddress(
                names.get(held.index, "?"),
                held.address,
                held.prefix_length,
                by_vrrp=held.proto in IFA_PROTOS_OF_VRRP,
            )
            for held in host.addresses
        ),
        routes=tuple(
            Route(names.get(route.index, "?"), route.network, on_link=route.gateway is None)
            for route in host.routes
        ),
        arp={ArpKey(*key): value for key, value in host.settings.items() if key[1] in WANTED},
        reverse_path={place: value for (place, name), value in host.settings.items() if name == REVERSE_PATH},
    )


def _path(key: ArpKey) -> Path:
    return Path("/proc/sys/net/ipv4/conf", key.interface, key.name)


def read_arp(key: ArpKey) -> int | None:
    """Return the present value. None: the interface does not exist."""
    try:
        return int(_path(key).read_text())
    except FileNotFoundError:
        return None


def check_writable(keys: list[ArpKey]) -> None:
    """Raise SetupError if these settings cannot be changed. Changes nothing."""
    if os.geteuid() != 0:
        raise SetupError(
            "changing addresses and sysctls needs root: run this as root or with sudo. Nothing changed"
        )
    for key in keys:
        if not os.access(_path(key), os.W_OK):
            raise SetupError(
                f"{_path(key)} cannot be written (perhaps a container with a read-only /proc/sys). "
                "Nothing changed. Run this on the host in the container's network namespace"
            )


def write_arp(key: ArpKey, value: int) -> None:
    """Write one value. Raises SetupError."""
    try:
        _path(key).write_text(str(value))
    except OSError as error:
        raise SetupError(f"cannot set {key} to {value}: {error.strerror}") from error


def set_lo(*, up: bool) -> None:
    """Set lo up or down. Raises SetupError."""
    with _changing(f"set lo {'up' if up else 'down'}") as netlink:
        virtual_links.set_state(netlink, socket.if_nametoindex("lo"), up)


def add_address(interface: str, address: Address, prefix_length: int) -> None:
    """Add an address to an interface. It is no error if it exists. Raises SetupError.

    An IPv6 address is added without duplicate address detection, which would find the director, remove the
    address, and announce it. It is deprecated, so that this host does not use it as source.
    """
    with _changing(f"add {address} on {interface}") as netlink:
        new = InterfaceAddress(_index(interface), address, prefix_length)
        error = addresses.add(netlink, new)
        if error is None or error.errno == errno.EEXIST:
            return
        if address.version == 6 and error.errno in (errno.EACCES, errno.EPERM):
            why = f"IPv6 is disabled on {interface} (sysctl net.ipv6.conf.{interface}.disable_ipv6)"
            raise OSError(error.errno, f"{error.strerror}: {why}")
        raise error


def remove_address(interface: str, address: Address, prefix_length: int) -> None:
    """Remove an address from an interface. It is no error if it does not exist. Raises SetupError."""
    with _changing(f"del {address} on {interface}") as netlink, contextlib.suppress(_NoInterfaceError):
        error = addresses.remove(netlink, InterfaceAddress(_index(interface), address, prefix_length))
        if error is not None and error.errno != errno.EADDRNOTAVAIL:
            raise error


def make_dummy(name: str) -> None:
    """Create a dummy interface and set it up. It is no error if it exists. Raises SetupError."""
    with _changing(f"make {name}") as netlink:
        try:
            with contextlib.suppress(FileExistsError):
                virtual_links.make_dummy(netlink, name)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            hint = "this kernel has no dummy interfaces; use lo"
            raise OSError(error.errno, f"{error.strerror}: {hint}") from None
        virtual_links.set_state(netlink, _index(name), up=True)


def remove_dummy(name: str) -> None:
    """Delete an interface. It is no error if it does not exist. Raises SetupError."""
    with _changing(f"remove {name}") as netlink, contextlib.suppress(_NoInterfaceError):
        virtual_links.remove(netlink, _index(name))


class _NoInterfaceError(OSError):
    """The interface does not exist."""


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise _NoInterfaceError(errno.ENODEV, "there is no such interface") from None


@contextlib.contextmanager
def _changing(what: str) -> Iterator[NetlinkSocket]:
    """Turn what the kernel refuses into SetupError: `cannot add 192.0.2.9 on lo: ...`."""
    try:
        with NetlinkSocket() as netlink:
            yield netlink
    except OSError as error:
        raise SetupError(f"cannot {what}: {error.strerror}") from error
