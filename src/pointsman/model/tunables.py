"""What IPVS has as sysctls (net.ipv4.vs.*) and Pointsman honours: names, values, defaults.

Meaning and values are those of Documentation/networking/ipvs-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec


class Tunable(msgspec.Struct, frozen=True):
    """One of them."""

    default: int
    values: tuple[int, ...]
    meaning: str


TUNABLES: Mapping[str, Tunable] = MappingProxyType(
    {
        "conn_reuse_mode": Tunable(
            1,
            (0, 1, 2, 3),
            "A SYN on the ports of a known connection: 0 goes on with it, 1 starts anew after TIME_WAIT and "
            "CLOSE, 2 and 3 after FIN_WAIT, too.",
        ),
        "expire_nodest_conn": Tunable(
            0,
            (0, 1),
            "1: what a deleted real server leaves behind is forgotten at once, not kept for its return.",
        ),
        "expire_quiescent_template": Tunable(
            0, (0, 1), "1: persistent clients of a real server with weight 0 get another one."
        ),
        "sloppy_tcp": Tunable(0, (0, 1), "1: a connection may start with any packet but RST."),
        "secure_tcp": Tunable(0, (0, 3), "3: the state table against SYN floods is used, always."),
    }
)


def parse(settings: Iterable[str]) -> dict[str, int]:
    """`name=value` words as numbers by name. Raises ValueError with what is wrong and what is right."""
    found = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        tunable = TUNABLES.get(name)
        if tunable is None:
            raise ValueError(f"{setting}: no setting {name}; there are {', '.join(TUNABLES)}")
        if text not in map(str, tunable.values):
            choices = ", ".join(map(str, tunable.values))
            raise ValueError(f"{setting}: {name} is one of {choices}")
        found[name] = int(text)
    return found
