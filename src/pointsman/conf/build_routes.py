"""Lines of virtual_routes as model types: the part of iproute2's language that moves with mastership."""

from __future__ import annotations

import ipaddress
import re

from pointsman.conf.problems import Findings
from pointsman.conf.settings import Settings
from pointsman.conf.values import BadValueError, Interface, parse_address
from pointsman.model.vrrp import VirtualRoute

_KINDS = ("unicast", "blackhole", "unreachable", "prohibit")
_TABLES = {"main": 254, "default": 253, "local": 255}
_SCOPES = ("global", "link", "host", "site", "nowhere", "universe")
_SAME = {"gw": "via", "oif": "dev", "preference": "metric", "priority": "metric"}
_WORDS = ("to", "via", "dev", "src", "table", "metric", "scope")


def virtual_routes(block: Settings, findings: Findings) -> tuple[VirtualRoute, ...]:
    """The routes of an instance, in their order."""
    routes: list[VirtualRoute] = []
    for setting in block.all("virtual_routes"):
        for node in setting.block:
            try:
                routes.append(_route([word.text for word in node.words]))
            except BadValueError as error:
                word = node.words[min(error.index, len(node.words) - 1)]
                findings.error(word.location, f"virtual_routes {word.text}: {error}", width=word.width)
    return tuple(routes)


def _route(words: list[str]) -> VirtualRoute:
    """`[KIND] [to] DESTINATION [via GATEWAY] [dev IF] [src IP] [table T] [metric N] [scope S] [onlink]`."""
    position = 0
    kind = "unicast"
    if words[0] in _KINDS:
        kind, position = words[0], 1
    options, on_link = _options(words, position)
    if "to" not in options:
        raise BadValueError("a route wants a destination, such as 192.0.2.0/24 or default")
    gateway = _address(options, "via")
    source = _address(options, "src")
    over_ipv6 = gateway is not None and gateway.version == 6
    text, at = options["to"]
    destination = _destination(text, at, over_ipv6)
    for other in (gateway, source):
        if other is not None and other.version != destination.version:
            raise BadValueError("addresses of one route are of one family", at)
    if kind == "unicast" and gateway is None and "dev" not in options:
        raise BadValueError("a route wants via GATEWAY or dev INTERFACE")
    if "dev" in options:
        Interface().read([options["dev"][0]])
    return VirtualRoute(
        kind=kind,
        destination=destination.ip,
        prefix_length=destination.network.prefixlen,
        gateway=gateway,
        device=options.get("dev", ("", 0))[0],
        source=source,
        table=_number(options, "table", 254, _TABLES),
        metric=_number(options, "metric", 0, {}),
        scope=_scope(options),
        on_link=on_link,
    )


def _options(words: list[str], position: int) -> tuple[dict[str, tuple[str, int]], bool]:
    """Each word's value and where it stands; and whether `onlink` is among them."""
    options: dict[str, tuple[str, int]] = {}
    on_link = False
    while position < len(words):
        name = _SAME.get(words[position], words[position])
        if name == "onlink":
            on_link = True
        elif name in _WORDS:
            if position + 1 >= len(words):
                raise BadValueError("its value is missing", position)
            position += 1
            options[name] = (words[position], position)
        elif "to" not in options:
            options["to"] = (words[position], position)
        else:
            raise BadValueError(f"not supported; there are {' '.join(_WORDS)} onlink", position)
        position += 1
    return options, on_link


def _destination(text: str, at: int, over_ipv6: bool) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    if text == "default":
        text = "::/0" if over_ipv6 else "0.0.0.0/0"
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise BadValueError(f"{text} is no destination, such as 192.0.2.0/24 or default", at) from None
    if found.ip != found.network.network_address:
        raise BadValueError(f"{text} has bits behind its prefix; is {found.network} meant?", at)
    return found


def _address(
    options: dict[str, tuple[str, int]], name: str
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if name not in options:
        return None
    return parse_address(*options[name])


def _number(options: dict[str, tuple[str, int]], name: str, usual: int, names: dict[str, int]) -> int:
    if name not in options:
        return usual
    text, at = options[name]
    if text in names:
        return names[text]
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 0 < int(text) < 2**32:
        raise BadValueError(f"{text} is no {name}: it wants a number", at)
    return int(text)


def _scope(options: dict[str, tuple[str, int]]) -> str:
    text, at = options.get("scope", ("", 0))
    if text and text not in _SCOPES and not re.fullmatch(r"[0-9]{1,3}", text):
        raise BadValueError(f"a scope is one of {' '.join(_SCOPES)}, or a number", at)
    return text
