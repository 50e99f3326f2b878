"""The host itself: read its facts, change an address, a link or an ARP setting.

All of it acts on the network namespace of the calling process: so do rtnetlink and /proc/sys/net.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pointsman.model.address import Address
from pointsman.net.addresses import VRRP_MARKS
from pointsman.realserver.facts import ArpKey, Facts, HostAddress, Interface, Route, SetupError
from pointsman.realserver.plan import REVERSE_PATH, WANTED

_SO_NETNS_COOKIE = 71
_MAIN_TABLE = 254
_UNICAST = 1
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_NOARP = 0x80
_IFA_F_NODAD = 0x02
_FOR_EVER = 0xFFFFFFFF


def namespace_identity() -> str:
    """Boot id and network-namespace cookie: unlike the inode number never used twice (socket(7))."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            cookie = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0]
        except OSError:  # before Linux 5.14
            cookie = Path("/proc/self/ns/net").stat().st_ino
    return f"{boot}/{cookie}"


def read_facts() -> Facts:
    """Interfaces, addresses, main routes and ARP settings as they are now."""
    with IPRoute() as netlink:
        names: dict[int, str] = {}
        interfaces = []
        for link in netlink.get_links():
            names[link["index"]] = name = link.get_attr("IFLA_IFNAME")
            speaks_arp = not link["flags"] & (_IFF_LOOPBACK | _IFF_NOARP)
            interfaces.append(Interface(name, bool(link["flags"] & _IFF_UP), speaks_arp))
        addresses = tuple(
            HostAddress(
                names.get(item["index"], "?"),
                # On a point-to-point link IFA_ADDRESS is the other end, IFA_LOCAL ours.
                ipaddress.ip_address(item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")),
                item["prefixlen"],
                by_vrrp=item.get_attr("IFA_PROTO") in VRRP_MARKS,
            )
            for item in netlink.get_addr()
        )
        routes = tuple(_routes(netlink, names))
    arp = {key: value for key in _arp_keys(names.values()) if (value := read_arp(key)) is not None}
    places = ("all", *names.values())
    reverse_path = {
        place: value for place in places if (value := read_arp(ArpKey(place, REVERSE_PATH))) is not None
    }
    return Facts(tuple(interfaces), addresses, routes, arp, reverse_path)


def _routes(netlink: IPRoute, names: dict[int, str]) -> list[Route]:
    found = []
    for item in netlink.get_routes(table=_MAIN_TABLE):
        index = item.get_attr("RTA_OIF")
        if item["type"] != _UNICAST or index is None:
            continue
        anywhere = "0.0.0.0" if item["family"] == socket.AF_INET else "::"
        network = ipaddress.ip_network(f"{item.get_attr('RTA_DST') or anywhere}/{item['dst_len']}")
        gateway = item.get_attr("RTA_GATEWAY") or item.get_attr("RTA_VIA")
        found.append(Route(names.get(index, "?"), network, on_link=gateway is None))
    return found


def _arp_keys(names: Iterable[str]) -> list[ArpKey]:
    return [ArpKey(place, name) for place in ["all", *names] for name in WANTED]


def _path(key: ArpKey) -> Path:
    return Path("/proc/sys/net/ipv4/conf", key.interface, key.name)


def read_arp(key: ArpKey) -> int | None:
    """The present value; None if the interface is not there."""
    try:
        return int(_path(key).read_text())
    except FileNotFoundError:
        return None


def check_writable(keys: list[ArpKey]) -> None:
    """Raise SetupError if we may not change these settings, before anything is changed."""
    if os.geteuid() != 0:
        raise SetupError(
            "changing addresses and sysctls needs root: run it as root or with sudo. Nothing changed"
        )
    for key in keys:
        if not os.access(_path(key), os.W_OK):
            raise SetupError(
                f"{_path(key)} cannot be written (a container with a read-only /proc/sys?). Nothing changed. "
                f"Run this on the host, in the container's network namespace"
            )


def write_arp(key: ArpKey, value: int) -> None:
    """Set one value. Raises SetupError."""
    try:
        _path(key).write_text(str(value))
    except OSError as error:
        raise SetupError(f"cannot set {key} to {value}: {error.strerror}") from error


def set_lo(*, up: bool) -> None:
    """Bring lo up or down. Raises SetupError."""
    with IPRoute() as netlink:
        try:
            netlink.link("set", index=_lo(netlink), state="up" if up else "down")
        except NetlinkError as error:
            raise SetupError(f"cannot set lo {'up' if up else 'down'}: {error.args[1]}") from error


def add_address(interface: str, address: Address, prefix_length: int) -> None:
    """Put an address on an interface; no error if it is there. Raises SetupError.

    IPv6: without duplicate address detection, which would find the director and give the address up (and
    would announce it); and deprecated, so that nothing this host begins itself has the VIP as its source.
    """
    options: dict[str, object] = {}
    if address.version == 6:
        options = {"flags": _IFA_F_NODAD, "preferred_lft": 0, "valid_lft": _FOR_EVER}
    _change_address("add", interface, address, prefix_length, errno.EEXIST, options)


def remove_address(interface: str, address: Address, prefix_length: int) -> None:
    """Take an address off an interface; no error if it is not there. Raises SetupError."""
    _change_address("del", interface, address, prefix_length, errno.EADDRNOTAVAIL, {})


def _change_address(
    command: str,
    interface: str,
    address: Address,
    prefix_length: int,
    tolerated: int,
    options: Mapping[str, object],
) -> None:
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=interface)
        if not found and command == "del":
            return
        try:
            if not found:
                raise NetlinkError(errno.ENODEV, "there is no such interface")
            netlink.addr(command, index=found[0], address=str(address), prefixlen=prefix_length, **options)
        except NetlinkError as error:
            if error.code == tolerated:
                return
            hint = ""
            if address.version == 6 and error.code in (errno.EACCES, errno.EPERM):
                hint = f": IPv6 is disabled on {interface} (sysctl net.ipv6.conf.{interface}.disable_ipv6)"
            raise SetupError(f"cannot {command} {address} on {interface}: {error.args[1]}{hint}") from error


def make_dummy(name: str) -> None:
    """Make a dummy interface and bring it up; no error if it is there. Raises SetupError."""
    with IPRoute() as netlink:
        try:
            if not netlink.link_lookup(ifname=name):
                netlink.link("add", ifname=name, kind="dummy")
            netlink.link("set", index=netlink.link_lookup(ifname=name)[0], state="up")
        except NetlinkError as error:
            hint = ": this kernel has no dummy interfaces; use lo" if error.code == errno.EOPNOTSUPP else ""
            raise SetupError(f"cannot make {name}: {error.args[1]}{hint}") from error


def remove_dummy(name: str) -> None:
    """Take the interface away; no error if it is not there. Raises SetupError."""
    with IPRoute() as netlink:
        for index in netlink.link_lookup(ifname=name):
            try:
                netlink.link("del", index=index)
            except NetlinkError as error:
                raise SetupError(f"cannot remove {name}: {error.args[1]}") from error


def _lo(netlink: IPRoute) -> int:
    found: list[int] = netlink.link_lookup(ifname="lo")
    return found[0]
