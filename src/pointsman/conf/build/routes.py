# SPDX-License-Identifier: Apache-2.0
"""Build routes from virtual_routes and static_routes: ip-route(8) as keepalived reads it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import msgspec

from pointsman.conf.build.encap import build_encapsulation
from pointsman.conf.build.iproute_words import Words, parse_number, parse_realms
from pointsman.conf.keywords.settings import Settings
from pointsman.conf.keywords.values import BadValueError
from pointsman.conf.text.problems import Findings
from pointsman.model.address import Address, Network
from pointsman.model.routing import METRICS, RouteHop, VirtualRoute

TABLES = {"main": 254, "default": 253, "local": 255}
PROTOCOLS = {
    "redirect": 1,
    "kernel": 2,
    "boot": 3,
    "static": 4,
    "gated": 8,
    "ra": 9,
    "mrt": 10,
    "zebra": 11,
    "bird": 12,
    "dnrouted": 13,
    "xorp": 14,
    "ntk": 15,
    "dhcp": 16,
    "mrouted": 17,
    "keepalived": 18,
    "babel": 42,
    "bgp": 186,
    "isis": 187,
    "ospf": 188,
    "rip": 189,
    "eigrp": 192,
}
_KINDS = ("unicast", "local", "broadcast", "multicast", "throw", "unreachable", "prohibit", "blackhole")
_SCOPES = ("global", "link", "host", "site", "nowhere", "universe")
_SAME = {"gw": "via", "oif": "dev", "preference": "metric", "priority": "metric", "proto": "protocol"}
_SAME |= {"dsfield": "tos"}
_TIMES = {"rtt": 8, "rttvar": 4, "rto_min": 1}
"""Metrics that are times: the kernel's units in one millisecond. They apply to values with ms or s."""
_FEATURES = {"ecn": 1}


def build_routes(
    block: Settings, word: str, findings: Findings, static: bool = False
) -> tuple[VirtualRoute, ...]:
    """Return the routes in the blocks of this keyword, in order."""
    found: list[VirtualRoute] = []
    for setting in block.all(word):
        for node in setting.block:
            try:
                found.append(_RouteLine([each.text for each in node.words], static).read())
            except BadValueError as error:
                wrong = node.words[min(error.index, len(node.words) - 1)]
                findings.error(wrong.location, f"{word} {wrong.text}: {error}", width=wrong.width)
    return tuple(found)


class _RouteLine:
    """Reader of one line. Each method raises BadValueError."""

    def __init__(self, words: list[str], static: bool) -> None:
        self._words = Words(words)
        self._static = static
        self._fields: dict[str, object] = {}
        self._metrics: dict[str, int] = {}
        self._locked: list[str] = []
        self._hops: list[RouteHop] = []
        self._gateways: list[Address] = []
        self._destination: tuple[str, int] | None = None
        self._version = 0

    def read(self) -> VirtualRoute:
        words = self._words
        if words.peek() in _KINDS:
            self._fields["kind"] = words.take()
        while words.has_more:
            self._word(words.take())
        return self._whole()

    def _word(self, written: str) -> None:
        words, name = self._words, _SAME.get(written, written)
        if name in ("inet", "inet6"):
            self._version = 4 if name == "inet" else 6
        elif name in METRICS:
            self._metric(name)
        elif name in _READERS:
            self._fields[_FIELDS.get(name, name)] = _READERS[name](words)
        elif name in ("via", "or"):
            self._gateways.append(words.address())
        elif name == "onlink":
            self._fields["on_link"] = True
        elif name == "encap":
            self._fields["encapsulation"] = build_encapsulation(words)
        elif name in ("add", "append", "prepend"):
            self._fields["placing"] = name
        elif name == "nexthop":
            self._hop()
        elif name == "no_track" and not self._static:
            self._fields["tracked"] = False
        elif name == "track_group" and self._static:
            self._fields["track_group"] = words.take()
        elif name == "vrf":
            raise BadValueError(
                "is not supported; write the table of the VRF: table NUMBER (see: ip vrf show)", words.at - 1
            )
        elif name == "to" or self._destination is None:
            self._destination = (words.take(), words.at - 1) if name == "to" else (written, words.at - 1)
        else:
            raise BadValueError("is not an option of a route", words.at - 1)

    def _metric(self, name: str) -> None:
        words = self._words
        if words.peek() == "lock":
            words.take()
            self._locked.append(name)
        text, at = words.take(), words.at - 1
        if name == "features":
            if text not in _FEATURES:
                raise BadValueError(f"must be {' or '.join(_FEATURES)}", at)
            self._metrics[name] = _FEATURES[text]
            return
        timed = re.fullmatch(r"([0-9]{1,7})(ms|s)", text)
        if name in _TIMES and timed:
            self._metrics[name] = int(timed[1]) * (1000 if timed[2] == "s" else 1) * _TIMES[name]
        else:
            self._metrics[name] = parse_number(text, 0, 2**32 - 1, at)

    def _hop(self) -> None:
        words = self._words
        hop = RouteHop()
        while words.has_more and words.peek() != "nexthop":
            name = words.take()
            if name in ("via", "gw"):
                hop = msgspec.structs.replace(hop, gateway=words.address())
            elif name in ("dev", "oif"):
                hop = msgspec.structs.replace(hop, device=words.interface())
            elif name == "weight":
                hop = msgspec.structs.replace(hop, weight=words.number(1, 256))
            elif name == "onlink":
                hop = msgspec.structs.replace(hop, on_link=True)
            elif name == "encap":
                hop = msgspec.structs.replace(hop, encapsulation=build_encapsulation(words))
            else:
                text = "is not an option of nexthop; these are: via, dev, weight, onlink, encap"
                raise BadValueError(text, words.at - 1)
        if hop.gateway is None and not hop.device:
            raise BadValueError("nexthop needs via or dev", words.at - 1)
        self._hops.append(hop)

    def _whole(self) -> VirtualRoute:
        if self._destination is None:
            raise BadValueError("a route needs a destination, such as 192.0.2.0/24 or default")
        text, at = self._destination
        destination = self._network(text, at)
        device = str(self._fields.pop("device", ""))
        hops = tuple(self._hops)
        gateway = None
        if len(self._gateways) > 1:
            if hops:
                raise BadValueError("write either `via A or B` or nexthop, not both", at)
            hops = tuple(RouteHop(gateway=each, device=device) for each in self._gateways)
            device = ""
        elif self._gateways:
            gateway = self._gateways[0]
        if self._fields.get("kind", "unicast") == "unicast" and not (gateway or device or hops):
            raise BadValueError("a route needs via GATEWAY or dev INTERFACE")
        route = VirtualRoute(
            destination=destination.network_address,
            prefix_length=destination.prefixlen,
            gateway=gateway,
            device=device,
            hops=hops,
            metrics=tuple(self._metrics.items()),
            locked=tuple(self._locked),
            **self._fields,  # type: ignore[arg-type]
        )
        self._check(route, at)
        return route

    def _network(self, text: str, at: int) -> Network:
        source = self._fields.get("source")
        gateways = [*self._gateways, *(hop.gateway for hop in self._hops if hop.gateway)]
        if text in ("default", "all"):
            sixth = self._version == 6 or any(
                isinstance(each, ipaddress.IPv6Address) for each in (source, *gateways)
            )
            text = "::/0" if sixth and self._version != 4 else "0.0.0.0/0"
        try:
            found = ipaddress.ip_interface(text)
        except ValueError:
            raise BadValueError(f"{text} is not a destination, such as 192.0.2.0/24 or default", at) from None
        if found.ip != found.network.network_address:
            raise BadValueError(f"{text} has bits set after its prefix; did you mean {found.network}?", at)
        return found.network

    def _check(self, route: VirtualRoute, at: int) -> None:
        version = route.destination.version
        if route.source is not None and route.source.version != version:
            raise BadValueError("all addresses of a route must be of one family", at)
        gateways = [route.gateway, *(hop.gateway for hop in route.hops)]
        if version == 6 and any(each is not None and each.version == 4 for each in gateways):
            raise BadValueError("an IPv6 route cannot have an IPv4 gateway", at)
        if version == 4 and (route.source_network or route.preference or route.expires):
            raise BadValueError("from, pref and expires are for IPv6 routes", at)
        if route.locked and set(route.locked) - set(dict(route.metrics)):
            raise BadValueError("lock needs a value after it", at)


def _parse_scope(words: Words) -> str:
    text = words.take()
    if text not in _SCOPES and not re.fullmatch(r"[0-9]{1,3}", text):
        raise BadValueError(f"the scope must be {', '.join(_SCOPES)} or a number", words.at - 1)
    return text


def parse_table(words: Words) -> int:
    """Read a table's number or name. Raises BadValueError."""
    text = words.take()
    return TABLES[text] if text in TABLES else parse_number(text, 1, 2**32 - 1, words.at - 1)


def parse_protocol(words: Words) -> int:
    text = words.take()
    return PROTOCOLS[text] if text in PROTOCOLS else parse_number(text, 0, 255, words.at - 1)


def _one_of(*choices: str) -> Callable[[Words], str]:
    def read(words: Words) -> str:
        text = words.take()
        if text not in choices:
            raise BadValueError(f"must be {' or '.join(choices)}", words.at - 1)
        return text

    return read


_FIELDS = {
    "dev": "device",
    "src": "source",
    "from": "source_network",
    "congctl": "congestion",
    "pref": "preference",
    "ttl-propagate": "ttl_propagate",
}
_READERS: dict[str, Callable[[Words], object]] = {
    "dev": Words.interface,
    "src": Words.address,
    "from": Words.network,
    "scope": _parse_scope,
    "table": parse_table,
    "tos": lambda words: words.number(0, 255),
    "protocol": parse_protocol,
    "metric": lambda words: words.number(0, 2**32 - 1),
    "realms": lambda words: parse_realms(words.take(), words.at - 1),
    "expires": lambda words: words.number(1, 2**32 - 1),
    "pref": _one_of("low", "medium", "high"),
    "congctl": Words.take,
    "ttl-propagate": lambda words: _one_of("enabled", "disabled")(words) == "enabled",
}
