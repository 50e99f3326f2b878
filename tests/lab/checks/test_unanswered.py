# SPDX-License-Identifier: Apache-2.0
"""A real server that passes TCP_CHECK and serves no client is told of, until a client is served."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from tests.support.control import status_at

from pointsman.lab import traffic, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import ha_pair

pytestmark = [pytest.mark.root, pytest.mark.slow]

PATIENCE = 60.0
SERVICE = """
virtual_server {vip} 80 {{
    delay_loop 2
    warmup 0
    protocol TCP
    lvs_sched rr
    lvs_method DR
    real_server {server} 80 {{
        TCP_CHECK {{
        }}
    }}
}}
"""
SERVER = ha_pair.WEB_SERVERS["web-01"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-silent-{os.getpid()}") as made:
        text = ha_pair.configuration("lb-01")
        service = SERVICE.format(vip=ha_pair.VIP, server=SERVER)
        (made.directory / "lb-01.conf").write_text(text[: text.index("virtual_server")] + service)
        made.node("lb-01").run(["pointsman", "reload"])
        yield made


def problems(lab: Lab) -> list[str]:
    status = status_at(lab.node("lb-01").run_directory / "control.sock")
    (server,) = (server for service in status["services"] for server in service["servers"])
    assert server["up"] is not False
    return [each for each in status["problems"] if f"real server {SERVER}:80" in each]


def come(lab: Lab) -> None:
    """Send the connections of three clients, who wait long enough to repeat their SYN."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            traffic.fetch(lab.node("client"), ha_pair.VIP, timeout=1.5)


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (f"ip address del {ha_pair.VIP}/32 dev lo", f"ip address add {ha_pair.VIP}/32 dev lo"),
        (
            "nft add table ip drop_syn { chain in { type filter hook input priority 0 ; "
            f"ip daddr {ha_pair.VIP} tcp dport 80 drop ; }} ; }}",
            "nft delete table ip drop_syn",
        ),
    ],
)
def test_it_is_a_problem_until_a_client_is_served(lab: Lab, fault: str, remedy: str) -> None:
    server = lab.node("web-01")
    come(lab)
    assert problems(lab) == []
    server.run(fault.split())
    come(lab)
    (problem,) = problems(lab)
    assert "connections of clients, and it answered none" in problem
    server.run(remedy.split())

    def is_served() -> bool:
        come(lab)
        return not problems(lab)

    waiting.until(is_served, PATIENCE, "the problem has ended")
