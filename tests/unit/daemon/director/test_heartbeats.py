# SPDX-License-Identifier: Apache-2.0
"""What a silent process has reported is unknown in `status`."""

from __future__ import annotations

import time
from ipaddress import ip_address

from pointsman.conf.load import load_text
from pointsman.control.status import (
    ConfigurationStatus,
    DataPlaneStatus,
    InstanceStatus,
    ServerStatus,
    ServiceStatus,
    SessionStatus,
    Status,
)
from pointsman.daemon.director.heartbeats import Heartbeats, Watched, unknown_services, without_unknown
from pointsman.daemon.runtime.heartbeat import Crashes, Heartbeat
from pointsman.model.config import Config

CONFIG = load_text(
    """virtual_server 10.0.0.1 80 {
    lvs_method DR
    protocol TCP
    real_server 10.0.0.2 80 {
        TCP_CHECK {
        }
    }
    real_server 10.0.0.3 80 {
        MISC_CHECK {
            misc_path /bin/true
        }
    }
}
"""
).config
STATUS = Status(
    router_id="lb-01",
    uptime=100.0,
    data_plane=DataPlaneStatus("memory"),
    configuration=ConfigurationStatus(None, None, 1, 100.0),
    instances=(
        InstanceStatus(
            instance="A", state="MASTER", priority=100, reason="", holds_addresses=True, seconds=50.0
        ),
    ),
    sessions=(SessionStatus("gateway", ip_address("10.0.0.9"), True, ""),),
    services=(
        ServiceStatus(
            service="TCP 10.0.0.1:80",
            scheduler="rr",
            managed=True,
            servers=(
                ServerStatus(server="10.0.0.2:80", weight=1, up=True, reason=""),
                ServerStatus(server="10.0.0.3:80", weight=1, up=True, reason=""),
            ),
        ),
    ),
    problems=("another",),
)


def servers(*silent: str) -> tuple[ServerStatus, ...]:
    """Return the real servers as `status` shows them while these processes are silent."""
    (service,) = unknown_services(STATUS.services, dict.fromkeys(silent, 40.0), CONFIG)
    return service.servers


def test_nobody_is_silent_and_nothing_changes() -> None:
    assert without_unknown(STATUS, {}) is STATUS


def test_states_of_a_silent_vrrp_process_are_unknown_and_say_their_age() -> None:
    shown = without_unknown(STATUS, {"vrrp": 12.3})
    (instance,) = shown.instances
    assert instance.state == "UNKNOWN"
    assert instance.reason == "MASTER before; no sign of life from the process pm-vrrp for 12 s"
    assert "pm-vrrp for 12 s" in shown.problems[0] and shown.problems[1] == "another"


def test_results_of_a_silent_checker_are_unknown_apart_from_those_of_programs() -> None:
    assert [server.up for server in servers("vrrp")] == [True, True]
    assert [server.up for server in servers("checker")] == [None, True]
    assert servers("checker")[0].reason.startswith("up before; no sign of life")
    assert [server.up for server in servers("scripts")] == [True, None]


def test_sessions_of_a_silent_bfd_process_are_unknown() -> None:
    (session,) = without_unknown(STATUS, {"bfd": 40.0}).sessions
    assert session.up is None and "pm-bfd" in session.reason


def test_only_processes_that_run_with_this_configuration_can_be_silent() -> None:
    wanted = Watched("checker", Heartbeat(), lambda _: 10.0, lambda config: bool(config.virtual_servers))
    heartbeats = Heartbeats(watched=(wanted,))
    now = time.monotonic()
    assert heartbeats.silences(CONFIG, now + 9.0) == {}
    assert heartbeats.silences(CONFIG, now + 11.0).keys() == {"checker"}
    assert heartbeats.silences(Config(router_id="lb-01"), now + 11.0) == {}
    heartbeats.reconfigure(now + 11.0)
    assert heartbeats.silences(CONFIG, now + 12.0) == {}


def test_a_process_that_crashes_again_and_again_is_told_although_it_beats() -> None:
    checker = Heartbeat()
    heartbeats = Heartbeats(watched=[Watched("checker", checker, lambda _: 10.0, lambda _: True)])
    now = time.monotonic()
    checker.beat()
    assert heartbeats.crashes(CONFIG, now) == []
    checker.record_crashes(Crashes(1, now))
    assert heartbeats.crashes(CONFIG, now) == [], "the restart has made it good"
    checker.record_crashes(Crashes(3, now))
    assert heartbeats.silences(CONFIG, now) == {}
    (said,) = heartbeats.crashes(CONFIG, now + 4)
    assert said.startswith("the process pm-checker has crashed 3 times in a row, the last time 4 s ago: ")
    assert heartbeats.crashes(CONFIG, now + 61) == []


def test_a_process_that_waited_long_for_its_restart_is_not_in_order_at_once() -> None:
    checker = Heartbeat()
    heartbeats = Heartbeats(watched=[Watched("checker", checker, lambda _: 10.0, lambda _: True)])
    now = time.monotonic()
    checker.record_crashes(Crashes(41, now))
    assert checker.crashes.restart_at == now + 40.0
    assert len(heartbeats.crashes(CONFIG, now + 45.0)) == 1
    assert heartbeats.crashes(CONFIG, now + 71.0) == []
