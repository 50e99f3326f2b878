# SPDX-License-Identifier: Apache-2.0
"""nftables rules of a real server, in tables of our own that are replaced in one transaction.

- `nft`, the alternative of the first document: incoming ARP requests for the VIP are dropped. Outgoing ARP
packets with the VIP as sender get the real server's own address. If it has none yet, as at boot, the
sender is 0.0.0.0, as in a probe of RFC 5227, which is answered too.

For an IPv6 VIP on an Ethernet interface the same is done for neighbour discovery (RFC 4861), which has no
arp_ignore: solicitations and advertisements for the VIP are dropped, and our own solicitations do not have
it as source.

- `redirect`: the VIP is not an address of this host. Packets to it are redirected to this host's own
address and the same port, and conntrack gives the answers the VIP as source.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

from pointsman.model.address import Address
from pointsman.realserver.facts import Facts, SetupError

ARP, ND, REDIRECT = "arp pointsman", "ip6 pointsman_nd", "inet pointsman_redirect"
TABLES = (ARP, ND, REDIRECT)

_NOBODY = "0.0.0.0"
_BORNE = re.compile(r"saddr (?:ip )?set (\S+)")
Own = Mapping[str, Sequence[Address]]
"""This host's own addresses (IPv4 and IPv6, without VIPs) by interface."""
_FILTER = "    type filter hook {0} priority filter; policy accept;\n"
_TARGET = "@th,64,128"
"""Target of a solicitation or advertisement, after 8 bytes of ICMPv6. nft 1.0.6 has no name for it."""


def own_addresses(facts: Facts, vips: Sequence[Address]) -> dict[str, list[Address]]:
    """Return for each interface with ARP its addresses that are not VIPs."""
    speaking = {interface.name for interface in facts.interfaces if interface.arp}
    found: dict[str, list[Address]] = {}
    for held in facts.addresses:
        if held.interface in speaking and held.address not in vips:
            found.setdefault(held.interface, []).append(held.address)
    return found


def build_silence(vips: Sequence[Address], on_the_wire: Sequence[Address], own: Own) -> str:
    """Return the tables of the method `nft`. `on_the_wire`: the VIPs on an interface that uses ND."""
    return _arp_table([vip for vip in vips if vip.version == 4], own) + _nd_table(
        [vip for vip in on_the_wire if vip.version == 6], own
    )


def lost_addresses(tables: str, facts: Facts) -> list[str]:
    """Return the own addresses in these tables that this host does not have any more."""
    present = {str(held.address) for held in facts.addresses} | {_NOBODY}
    return sorted(set(_BORNE.findall(tables)) - present)


def _arp_table(vips: Sequence[Address], own: Own) -> str:
    if not vips:
        return ""
    listed = _set(vips)
    rewrites = "".join(
        f'    oifname "{interface}" arp saddr ip {listed} arp saddr ip set {address}\n'
        for interface, address in _first_addresses(own, 4).items()
    )
    rewrites += f"    arp saddr ip {listed} arp saddr ip set {_NOBODY}\n"
    return (
        f"table {ARP} {{\n  chain input {{\n{_FILTER.format('input')}    arp daddr ip {listed} drop\n  }}\n"
        f"  chain output {{\n{_FILTER.format('output')}{rewrites}  }}\n}}\n"
    )


def _nd_table(vips: Sequence[Address], own: Own) -> str:
    if not vips:
        return ""
    targets = "{ " + ", ".join(f"0x{int(vip):032x}" for vip in vips) + " }"
    drops = {
        kind: f"    icmpv6 type nd-neighbor-{kind} {_TARGET} {targets} drop\n"
        for kind in ("solicit", "advert")
    }
    rewrites = "".join(
        f'    oifname "{interface}" icmpv6 type nd-neighbor-solicit ip6 saddr {_set(vips)} '
        f"ip6 saddr set {address}\n"
        for interface, address in _first_addresses(own, 6).items()
    )
    return (
        f"table {ND} {{\n  chain input {{\n{_FILTER.format('input')}{drops['solicit']}{drops['advert']}  }}\n"
        f"  chain output {{\n{_FILTER.format('output')}{drops['advert']}{rewrites}  }}\n}}\n"
    )


def build_redirect(vips: Sequence[Address]) -> str:
    """Return the table of the method `redirect`, for incoming packets and for clients on this host."""
    if not vips:
        return ""
    rules = "".join(
        f"    {word} daddr {_set(members)} redirect\n"
        for word, version in (("ip", 4), ("ip6", 6))
        if (members := [vip for vip in vips if vip.version == version])
    )
    hook = "    type nat hook {0} priority -100; policy accept;\n"
    return (
        f"table {REDIRECT} {{\n  chain prerouting {{\n{hook.format('prerouting')}{rules}  }}\n"
        f"  chain output {{\n{hook.format('output')}{rules}  }}\n}}\n"
    )


def _first_addresses(own: Own, version: int) -> dict[str, Address]:
    """Return one address per interface: the first, or for IPv6 preferably one that is not link-local."""
    found = {}
    for interface, addresses in own.items():
        of_version = sorted((item for item in addresses if item.version == version), key=_is_link_local)
        if of_version:
            found[interface] = of_version[0]
    return found


def _is_link_local(address: Address) -> bool:
    return address.is_link_local


def _set(vips: Sequence[Address]) -> str:
    return f"{{ {', '.join(map(str, vips))} }}"


def replace_tables(tables: str) -> None:
    """Replace all of our tables by these in one transaction. Raises SetupError."""
    present = _present()
    wanted = [table for table in TABLES if f"table {table} " in tables]
    fresh = "".join(
        f"add table {table}\ndelete table {table}\n" for table in TABLES if table in {*present, *wanted}
    )
    if fresh:
        _run(["nft", "-f", "-"], fresh + tables)


def list_tables() -> str:
    """Return our tables in the form of nft's listing. Empty: none. Raises SetupError without nft."""
    return "".join(_run(["nft", "list", "table", *table.split()], "") for table in _present())


def _present() -> list[str]:
    words = {line.removeprefix("table ").strip() for line in _run(["nft", "list", "tables"], "").splitlines()}
    return [table for table in TABLES if table in words]


def _run(command: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise SetupError(
            "nft is not installed; install it (apt-get install nftables) or use --method sysctl"
        ) from None
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"{' '.join(command)} does not end") from error
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)} fails: {done.stderr.strip()}")
    return done.stdout
