# SPDX-License-Identifier: Apache-2.0
"""Sysctls of IPVS (net.ipv4.vs.*) that Pointsman supports: names, values, defaults.

Meaning and values are those of Documentation/networking/ipvs-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec


class Tunable(msgspec.Struct, frozen=True):
    """A supported sysctl."""

    default: int
    values: tuple[int, ...]
    meaning: str


_DEFENCE = (0, 1, 2, 3)

TUNABLES: Mapping[str, Tunable] = MappingProxyType(
    {
        "conn_reuse_mode": Tunable(
            1,
            (0, 1, 2, 3),
            "A SYN on the ports of a known connection: 0 continues this connection, 1 starts a new one after "
            "TIME_WAIT and CLOSE, 2 and 3 also after FIN_WAIT.",
        ),
        "expire_nodest_conn": Tunable(
            0,
            (0, 1),
            "1: connections of a deleted real server are removed at once, not kept for its return.",
        ),
        "expire_quiescent_template": Tunable(
            0, (0, 1), "1: persistent clients of a real server with weight 0 get another one."
        ),
        "sloppy_tcp": Tunable(0, (0, 1), "1: a connection may start with any packet but RST."),
        "sloppy_sctp": Tunable(0, (0, 1), "1: an SCTP association may start with any packet but ABORT."),
        "schedule_icmp": Tunable(0, (0, 1), "1: ICMP errors about unknown connections are scheduled too."),
        "secure_tcp": Tunable(
            0,
            _DEFENCE,
            "Use the state table against SYN floods: 0 never, 1 and 2 while the "
            "connection table is more than three quarters full, 3 always.",
        ),
        "drop_entry": Tunable(
            0, _DEFENCE, "Remove connections that are not established early. Values as for secure_tcp."
        ),
        "drop_packet": Tunable(
            0,
            _DEFENCE,
            "Drop one of am_droprate packets that would start a connection. Values as for secure_tcp.",
        ),
        "am_droprate": Tunable(10, tuple(range(1, 1001)), "See drop_packet."),
    }
)


def parse(settings: Iterable[str]) -> dict[str, int]:
    """Parse `name=value` words. Raises ValueError that names the mistake and the valid values."""
    found = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        tunable = TUNABLES.get(name)
        if tunable is None:
            raise ValueError(f"{setting}: no setting {name}; choose from {', '.join(TUNABLES)}")
        if text not in map(str, tunable.values):
            values = tunable.values
            choices = ", ".join(map(str, values)) if len(values) < 10 else f"{values[0]} to {values[-1]}"
            raise ValueError(f"{setting}: {name} must be one of {choices}")
        found[name] = int(text)
    return found
