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


_DEFENCE = (0, 1, 2, 3)

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
        "sloppy_sctp": Tunable(0, (0, 1), "1: an SCTP association may start with any packet but ABORT."),
        "schedule_icmp": Tunable(
            0, (0, 1), "1: ICMP errors about connections that are not known are scheduled, too."
        ),
        "secure_tcp": Tunable(
            0,
            _DEFENCE,
            "The state table against SYN floods is used: 0 never, 1 and 2 while the connection table is more "
            "than three quarters full, 3 always.",
        ),
        "drop_entry": Tunable(
            0, _DEFENCE, "Connections that have not been established are given up early: when, as secure_tcp."
        ),
        "drop_packet": Tunable(
            0,
            _DEFENCE,
            "One of am_droprate packets that would start a connection is dropped: when, ditto.",
        ),
        "am_droprate": Tunable(10, tuple(range(1, 1001)), "See drop_packet."),
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
            values = tunable.values
            choices = ", ".join(map(str, values)) if len(values) < 10 else f"{values[0]} to {values[-1]}"
            raise ValueError(f"{setting}: {name} is one of {choices}")
        found[name] = int(text)
    return found
