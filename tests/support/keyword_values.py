# SPDX-License-Identifier: Apache-2.0
"""Values for the words of the keyword table, and the words that have a meaning."""

from __future__ import annotations

from hypothesis import strategies as st

from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.keywords.values import (
    Boolean,
    Choice,
    Flag,
    Granularity,
    Integer,
    Interface,
    Ip,
    Kind,
    Md5,
    Ranges,
    Seconds,
    Text,
    Texts,
)
from pointsman.conf.keywords.values_lvs import Method

hosts = st.integers(1, 250).map(lambda n: f"10.0.0.{n}")


def numbers(kind: Integer) -> st.SearchStrategy[str]:
    """Return numbers, mostly small ones, and the ends of the range."""
    high = min(kind.high, kind.low + 300)
    return (st.integers(kind.low, high) | st.sampled_from([kind.low, kind.high])).map(str)


METHODS = ["DR", "TUN", "TUN type gue port 6080 csum", "TUN nocsum type gre"]


def values(kind: Kind) -> st.SearchStrategy[str] | None:
    """Return texts that a type accepts; None: it depends on other words."""
    if isinstance(kind, Flag):
        return st.just("")
    if isinstance(kind, Boolean):
        return st.sampled_from(["", "on", "off", "yes", "false"])
    if isinstance(kind, Integer):
        return numbers(kind)
    if isinstance(kind, Seconds):
        top = min(kind.high, kind.low + 300)
        return st.sampled_from([f"{kind.low:f}", f"{top:g}"]) | st.integers(1, int(top * 100) or 1).map(
            lambda n: f"{max(kind.low, n / 100):.2f}"
        )
    if isinstance(kind, Choice):
        return st.sampled_from(kind.choices)
    if isinstance(kind, Method):
        return st.sampled_from(METHODS)
    if isinstance(kind, Texts):
        return st.lists(st.sampled_from(kind.choices), min_size=1, max_size=3, unique=True).map(" ".join)
    if isinstance(kind, Ranges):
        return st.integers(kind.low, kind.high).map(str)
    simple: dict[type, st.SearchStrategy[str]] = {
        Ip: hosts,
        Interface: st.sampled_from(["eth0", "eth1.5"]),
        Granularity: st.sampled_from(["255.255.255.0", "24", "32"]),
        Md5: st.just("9b3a0c85a887a256d6939da88aabd8cd"),
        Text: st.sampled_from(["word", "two words", "a.b-c", "/path"]).map(lambda text: f'"{text}"'),
    }
    return simple.get(type(kind))


def words(block: str) -> list[tuple[Keyword, st.SearchStrategy[str]]]:
    """Return the honoured words of a block that can stand alone, with strategies for their values."""
    return [
        (row, strategy)
        for row in TABLE[block].values()
        if row.status is Status.HONOURED and not row.opens and (strategy := values(row.kind)) is not None
    ]


CHECKS = [
    name for name, row in TABLE["real_server"].items() if row.opens == name and not name.startswith("BFD")
]
SILENT = {
    "global_defs.vrrp_mcast_group6": "only adverts over IPv6 use it",
    "global_defs.default_interface": "only static addresses use it",
    "global_defs.vmac_prefix": "only virtual interfaces use it",
    "global_defs.vmac_addr_prefix": "only virtual interfaces use it",
    "global_defs.vrrp_strict": "forbids, and sets what is so anyway",
    "vrrp_instance.strict_mode": "the same",
    "vrrp_instance.accept": "it is so anyway",
    "vrrp_instance.preempt": "the same",
    "vrrp_instance.use_vmac_addr": "only addresses with use_vmac use it",
    "virtual_server.ip_family": "only firewall marks use it",
    "global_defs.nftables_ipvs_start_fwmark": "the same",
    "FILE_CHECK.track_file": "the frame has it",
}
"""Words that change nothing in the frame of tests/property/test_conf_words.py, with the reason."""
BLOCKS = ["global_defs", "track_file", "vrrp_script", "vrrp_track_process", "vrrp_instance"]
BLOCKS += ["virtual_server", "real_server", "url", *CHECKS]
MEANT = [row for block in BLOCKS for row, _ in words(block) if f"{block}.{row.name}" not in SILENT]
