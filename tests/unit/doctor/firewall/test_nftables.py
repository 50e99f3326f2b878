# SPDX-License-Identifier: Apache-2.0
"""The tables that `pointsman realserver up` makes, in the JSON of nft."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.nft_json import DROP, chain, match, ruleset

from pointsman.doctor.firewall.nftables import parse_redirected, parse_undiscovered


def test_what_realserver_redirects_is_known() -> None:
    rule = [match("ip", "daddr", {"set": ["192.168.7.33", "192.168.7.34"]}), {"redirect": None}]
    text = ruleset(*chain("prerouting", rule, table="pointsman_redirect", hook="prerouting"))
    assert [str(network) for network in parse_redirected(text)] == ["192.168.7.33/32", "192.168.7.34/32"]
    other = ruleset(*chain("prerouting", rule, hook="prerouting"))
    assert parse_redirected(other) == (), "somebody else's redirect is none of ours"


@pytest.mark.parametrize("several", [False, True])
def test_what_realserver_keeps_out_of_neighbour_discovery_is_known(several: bool) -> None:
    left = {"payload": {"base": "th", "offset": 64, "len": 128}}
    number = "0xfd000000000000000000000000000033"
    value: Any = {"set": [number, "0xfd000000000000000000000000000034"]} if several else number
    rule = [{"match": {"op": "==", "left": left, "right": value}}, DROP]
    found = parse_undiscovered(ruleset(*chain("input", rule, table="pointsman_nd", hook="input")))
    assert list(map(str, found)) == ["fd00::33", "fd00::34"][: 1 + several]
    assert parse_undiscovered(ruleset(*chain("input", rule, hook="input"))) == ()
