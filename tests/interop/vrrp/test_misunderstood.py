# SPDX-License-Identifier: Apache-2.0
"""Two whole directors that do not understand each other: both say what came and what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.director_process import Director, configuration
from tests.support.until import until
from tests.support.vrrp.switch import Switch, switch

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def dropped(director: Director) -> list[Any]:
    return list(cast(Any, director.instance().get("dropped", ())))


@pytest.mark.parametrize("unicast", [False, True], ids=["multicast", "unicast"])
def test_a_wrong_virtual_router_id_is_told_on_both(made: Switch, tmp_path: Path, unicast: bool) -> None:
    hosts = made.host("one", "10.9.0.1/24"), made.host("two", "10.9.0.2/24")
    block = "unicast_peer {{\n {} \n}}" if unicast else ""
    peers = [block.format(host.address) for host in hosts]
    texts = [configuration(150, peers[1]), configuration(100, peers[0])]
    texts[1] = texts[1].replace("virtual_router_id 51", "virtual_router_id 52")
    one, two = (Director(host, tmp_path, text) for host, text in zip(hosts, texts, strict=True))
    try:
        until("both tell what they drop", lambda: bool(dropped(one) and dropped(two)))
        until("both are master", lambda: (one.state(), two.state()) == ("MASTER", "MASTER"))
        (found,) = dropped(two)
        assert (found["sender"], found["reason"]) == ("10.9.0.1", "virtual_router_id")
        assert found["text"] == "virtual_router_id 51, expecting 52"
        assert "(VI_1) from 10.9.0.1: virtual_router_id 51, expecting 52" in two.log.read_text()
        status = two.ask("status")
        assert status.returncode == 1, "a rival that is not understood is wrong"
        text = " ".join(status.stdout.split())
        assert re.search(
            r"VI_1: \d+ adverts? of 10\.9\.0\.1 dropped, .*: virtual_router_id 51, expecting 52", text
        )
    finally:
        assert [director.stop() for director in (one, two)] == [0, 0]
