# SPDX-License-Identifier: Apache-2.0
"""The limit of VRRP's heartbeat: below the master-down interval, and not too short for a busy machine."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.conf.load import load_text
from pointsman.daemon.child import HEARTBEAT_LIMIT
from pointsman.daemon.runtime.heartbeat import INTERVAL, LONGEST_TURN, SLOW_INTERVAL, STALL
from pointsman.daemon.vrrp.deadlines import LONGEST_LIMIT, SHORTEST_LIMIT, heartbeat_limit
from pointsman.model.vrrp import VrrpInstance

(PLAIN,) = load_text(
    """vrrp_instance A {
    interface eth0
    virtual_router_id 5
    virtual_ipaddress {
        10.0.0.1/24
    }
}
"""
).config.instances


def at(interval: float, down: int = 3) -> VrrpInstance:
    return msgspec.structs.replace(PLAIN, advert_interval=interval, down_timer_adverts=down)


@pytest.mark.parametrize("interval", [1.0, 1.5, 2.0, 4.0])
def test_a_process_restarted_at_the_limit_is_back_before_the_master_is_down(interval: float) -> None:
    assert heartbeat_limit([at(interval)]) <= 2 * interval


def test_the_shortest_interval_decides_within_the_bounds() -> None:
    assert heartbeat_limit([at(3.0), at(1.5)]) == 3.0
    assert heartbeat_limit([at(0.01), at(3.0)]) == SHORTEST_LIMIT
    assert heartbeat_limit([at(1.0, down=90)]) == LONGEST_LIMIT
    assert heartbeat_limit([]) == LONGEST_LIMIT


def test_a_short_pause_of_the_whole_machine_is_no_silence() -> None:
    assert INTERVAL + LONGEST_TURN + STALL < SHORTEST_LIMIT
    assert SLOW_INTERVAL + LONGEST_TURN + STALL < HEARTBEAT_LIMIT
