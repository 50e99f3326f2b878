# SPDX-License-Identifier: Apache-2.0
"""Output and verdict of `pointsman status`."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from pointsman.cli import status as verb
from pointsman.cli.main import main
from pointsman.cli.screens.coloured_lines import plain
from pointsman.cli.screens.status_screen import screen
from pointsman.control.status import (
    AdvertStatus,
    AttachmentStatus,
    ConfigurationStatus,
    DataPlaneStatus,
    DroppedStatus,
    InstanceStatus,
    ServerStatus,
    ServiceStatus,
    SessionStatus,
    Status,
)
from pointsman.control.status_verdict import find_wrong

SERVER = ServerStatus(server="10.0.0.20:80", weight=1, up=None, reason="")
SERVICE = ServiceStatus(service="TCP 10.0.0.1:80", scheduler="rr", managed=True, servers=(SERVER,))
replace = msgspec.structs.replace
MASTER = InstanceStatus(
    instance="VI_1",
    state="MASTER",
    priority=100,
    reason="",
    holds_addresses=True,
    seconds=240.0,
    advert_interval=1.0,
)
BACKUP = replace(MASTER, state="BACKUP", holds_addresses=False)
PEER = ip_address("10.0.0.2")


def state_of(**changes: Any) -> Status:
    state = Status(
        router_id="lb-01",
        uptime=1.0,
        data_plane=DataPlaneStatus(name="xdp"),
        configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
    )
    return replace(state, **changes)


def shown(width: int = 200, **changes: Any) -> str:
    state = state_of(**changes)
    return "\n".join(plain(line) for line in screen(state, find_wrong(state), width))


def wrong(**changes: Any) -> list[str]:
    return find_wrong(state_of(**changes))


def test_lost_packets_are_counted_and_explained_others_are_not() -> None:
    said = shown(exits={"no_neighbour": 12, "ttl_exceeded": 0, "not_ip": 99})
    assert "12 packets no_neighbour: dropped; the real server's MAC address was not known" in said
    assert "ttl" not in said and "not_ip" not in said


def test_a_service_put_in_by_hand_is_not_called_unchecked() -> None:
    by_hand = shown(services=(replace(SERVICE, managed=False),))
    assert "by hand" in by_hand and "unchecked" not in by_hand
    configured = shown(services=(replace(SERVICE, persistence=50),))
    assert "unchecked" in configured and "rr persistent 50 s" in configured


def test_an_ipv6_address_is_not_taken_for_markup() -> None:
    server = replace(SERVER, server="[fd00::20]:80", reason="[fd00::20]:80 does not answer")
    service = replace(SERVICE, service="TCP [fd00::1]:80", servers=(server,))
    said = shown(services=(service,), problems=("of [fd00::1]:80",))
    assert "TCP [fd00::1]:80 rr" in said
    assert "-> [fd00::20]:80" in said and "[fd00::20]:80 does not answer" in said
    assert "! of [fd00::1]:80" in said


def test_a_backup_says_who_is_master_and_when_it_heard_it() -> None:
    heard = replace(BACKUP, last_advert=AdvertStatus(str(PEER), 150, 0.42))
    assert "BACKUP  priority 100  for 4 min  master: 10.0.0.2 (priority 150), last advert 0.4 s ago" in shown(
        instances=(heard,)
    )
    assert "no advert of a master yet" in shown(instances=(BACKUP,))
    failed = replace(
        heard, state="FAULT", reason="interface down", last_advert=AdvertStatus(str(PEER), 150, 130.0)
    )
    assert "last master: 10.0.0.2 (priority 150), last advert 2 min ago" in shown(instances=(failed,))


def test_a_second_master_is_wrong_but_the_last_advert_of_the_former_one_is_not() -> None:
    rival = replace(MASTER, last_advert=AdvertStatus(str(PEER), 90, 0.5))
    assert wrong(instances=(rival,)) == [
        "VRRP VI_1: 10.0.0.2 (priority 90) is master, too; its last advert came 0.5 s ago"
    ]
    assert "also master: 10.0.0.2 (priority 90)" in shown(instances=(rival,))
    former = replace(MASTER, seconds=2.0, last_advert=AdvertStatus(str(PEER), 90, 2.1))
    assert wrong(instances=(former,)) == [] and "10.0.0.2" not in shown(instances=(former,))
    leaving = replace(MASTER, last_advert=AdvertStatus(str(PEER), 0, 0.1))
    assert wrong(instances=(leaving,)) == []


def test_another_host_with_the_address_of_a_master_is_wrong() -> None:
    doubled = replace(MASTER, conflict="another host (02:00:00:00:00:09) answers for 10.0.0.9")
    assert wrong(instances=(doubled,)) == [
        "VRRP VI_1: another host (02:00:00:00:00:09) answers for 10.0.0.9, too: clients may reach either"
    ]


def test_dropped_adverts_are_wrong_and_say_why() -> None:
    dropped = DroppedStatus("10.0.0.2", "password", "wrong password", 12, 0.4)
    assert wrong(instances=(replace(MASTER, dropped=(dropped,)),)) == [
        "VRRP VI_1: 12 adverts of 10.0.0.2 dropped, the last 0.4 s ago: wrong password"
    ]
    assert wrong(instances=(replace(MASTER, dropped=(replace(dropped, seconds=31.0),)),)) == []
    slow = replace(MASTER, advert_interval=10.0, dropped=(replace(dropped, seconds=31.0),))
    assert len(wrong(instances=(slow,))) == 1
    lines = wrong(instances=(replace(MASTER, dropped=(dropped,) * 9),))
    assert len(lines) == 4 and lines[-1] == "VRRP VI_1: adverts dropped from 6 more senders"


UP = replace(SERVER, up=True, next_hop="52:54:00:ba:3d:b9 eth8")
DOWN = replace(SERVER, server="10.0.0.21:80", up=False, weight=None, reason="Connection refused")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"instances": (MASTER, BACKUP)}, []),
        ({"instances": (replace(BACKUP, state="FAULT", reason="link"),)}, ["VRRP VI_1: FAULT: link"]),
        ({"instances": (replace(BACKUP, state="UNKNOWN", reason="x"),)}, ["VRRP VI_1: UNKNOWN: x"]),
        (
            {"instances": (replace(MASTER, holds_addresses=False),)},
            ["VRRP VI_1: MASTER without its virtual addresses"],
        ),
        ({"sessions": (SessionStatus("far", PEER, up=True, reason=""),)}, []),
        ({"sessions": (SessionStatus("far", PEER, up=False, reason="why"),)}, ["BFD far: down: why"]),
        ({"problems": ("one",)}, ["one"]),
        (
            {
                "data_plane": DataPlaneStatus(
                    name="xdp", attachments=(AttachmentStatus("eth0", 2, "tc", link="no carrier"),)
                )
            },
            ["interface eth0: no carrier; no packet can arrive"],
        ),
        (
            {"data_plane": DataPlaneStatus(name="xdp", connections=95, connection_limit=100)},
            ["the connection table is nearly full: 95 of 100 entries"],
        ),
    ],
)
def test_what_is_wrong(changes: dict[str, Any], words: list[str]) -> None:
    assert wrong(**changes) == words


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ((UP, SERVER), []),
        ((UP, DOWN), ["1 real server of 2 down: 10.0.0.21:80 of TCP 10.0.0.1:80"]),
        ((UP, replace(DOWN, by_hand="down")), []),
        ((UP, replace(SERVER, weight=0, by_hand="weight 0")), []),
        ((), ["1 service of 1: no real server can take a connection: TCP 10.0.0.1:80"]),
        (
            (DOWN,),
            [
                "1 service of 1: no real server can take a connection: TCP 10.0.0.1:80",
                "1 real server of 1 down: 10.0.0.21:80 of TCP 10.0.0.1:80",
            ],
        ),
        (
            (UP, replace(UP, next_hop="not resolved")),
            ["1 real server of 2 without a known MAC address: 10.0.0.20:80 of TCP 10.0.0.1:80"],
        ),
        (
            (UP, replace(SERVER, reason="up before; no sign of life")),
            ["1 real server of 2 in an unknown state: 10.0.0.20:80 of TCP 10.0.0.1:80"],
        ),
    ],
)
def test_services_that_do_not_serve_are_wrong(servers: tuple[ServerStatus, ...], words: list[str]) -> None:
    assert wrong(services=(replace(SERVICE, servers=servers),)) == words
    assert wrong(services=(replace(SERVICE, servers=servers, standby=True),)) == []


def test_what_is_wrong_is_counted_but_only_a_few_are_named() -> None:
    service = replace(SERVICE, servers=(UP, *[DOWN] * 200))
    (line,) = wrong(services=(service,))
    assert line.startswith("200 real servers of 201 down: 10.0.0.21:80 of TCP 10.0.0.1:80, ")
    assert line.endswith(" and 197 more") and len(line) < 200


def test_green_is_only_what_serves() -> None:
    def style(server: ServerStatus) -> str:
        state = state_of(services=(replace(SERVICE, servers=(server,)),))
        for line in screen(state, [], 200):
            for text, name in line:
                if text.strip() in ("up", "DOWN", "UNKNOWN"):
                    return name
        raise AssertionError("no state is shown")

    assert style(UP) == "green"
    assert style(DOWN) == style(replace(SERVER, reason="up before; no sign of life")) == "bold red"
    assert style(replace(UP, next_hop="not resolved")) == style(replace(UP, weight=None)) == "yellow"
    assert style(replace(UP, weight=0, by_hand="weight 0")) == "cyan"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "bold green"),
        ({"holds_addresses": False}, "bold red"),
        ({"conflict": "52:54:00:00:00:09 has 10.0.0.1"}, "bold red"),
        ({"last_advert": AdvertStatus("10.0.0.2", 90, 0.5)}, "bold red"),
        ({"state": "BACKUP", "holds_addresses": False}, "cyan"),
        ({"state": "FAULT", "holds_addresses": False}, "bold red"),
        ({"state": "UNKNOWN", "holds_addresses": False}, "bold red"),
        ({"state": "INIT", "holds_addresses": False}, "yellow"),
    ],
)
def test_the_colour_of_an_instance_is_that_of_the_verdict(changes: dict[str, Any], expected: str) -> None:
    instance = replace(MASTER, **changes)
    (line,) = [
        line for line in screen(state_of(instances=(instance,)), [], 200) if plain(line).startswith("VRRP")
    ]
    assert dict(line)[instance.state] == expected
    assert (expected == "bold red") == bool(find_wrong(state_of(instances=(instance,))))


def test_connections_are_counted_for_each_server_and_in_total() -> None:
    servers = (replace(UP, active=3, inactive=1), DOWN)
    plane = DataPlaneStatus(name="xdp", connection_limit=400, connections=4)
    state = state_of(services=(replace(SERVICE, servers=servers),), data_plane=plane)
    lines = [plain(line) for line in screen(state, [], 200)]
    assert "  data plane xdp  connections: 3 active, 1 inactive  table 4 of 400 (1 %)" in lines
    assert "TCP 10.0.0.1:80 rr  3 active, 1 inactive" in lines
    assert "  -> 10.0.0.20:80  up         weight 1  3 active, 1 inactive  52:54:00:ba:3d:b9 eth8" in lines


LONG = "a_name_that_somebody_gave_to_this_instance_of_the_virtual_router_protocol"


@pytest.mark.parametrize("width", [80, 132])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    server = replace(
        UP,
        server="[2001:db8:1234:5678:9abc:def0:1234:5678]:65535",
        active=1234567,
        inactive=7654321,
        up=False,
        reason="certificate of backend-01.long.example.com is only valid until yesterday, and not longer",
        by_hand="up, weight 2147483647 for another 29 min",
    )
    service = replace(
        SERVICE,
        service="TCP [2001:db8:1234:5678:9abc:def0:1234:1]:65535",
        scheduler="wlc",
        persistence=86400,
        servers=(server,) * 3,
    )
    instance = replace(
        BACKUP,
        instance=LONG,
        reason="a better advert came",
        last_advert=AdvertStatus("fe80:1234:5678:9abc:def0:1234:5678:9abc", 255, 0.1),
    )
    attachment = AttachmentStatus(
        "enp130s0f1np1", 4, "tc", "native XDP would lose packets of the bond below it"
    )
    state = state_of(
        router_id="lb-01.a-long-name.of-a-host.example.com",
        data_plane=DataPlaneStatus(
            name="xdp",
            attachments=(attachment,),
            connections=16777216,
            connection_limit=16777216,
            neighbours=1024,
            neighbour_limit=1024,
        ),
        configuration=ConfigurationStatus(
            file="/etc/keepalived/keepalived.conf", config_id=None, generation=12345, seconds=1e6
        ),
        exits={"connection_reset": 1 << 40},
        instances=(instance,),
        sessions=(SessionStatus(LONG, PEER, up=False, reason="the control detection time has expired"),),
        services=(service,) * 200,
        problems=("the table differs from the configuration: server " + service.service,),
    )
    lines = [plain(line) for line in screen(state, find_wrong(state), width)]
    assert len(lines) > 600 and max(map(len, lines)) <= width
    assert not [line for line in lines if line != line.rstrip()]
    assert any(server.by_hand in line for line in lines)


def test_what_is_wrong_comes_first_on_a_screen_that_shows_only_the_beginning() -> None:
    broken = replace(SERVICE, service="TCP 10.0.0.9:80", servers=(DOWN,))
    state = state_of(services=(replace(SERVICE, servers=(UP,)), broken))
    lines = [plain(line) for line in screen(state, find_wrong(state), 200, wrong_first=True)]
    assert lines[0] == "lb-01: 2 things are wrong" and lines[1].startswith("! 1 service of 2")
    assert [line.split()[1] for line in lines if line.startswith("TCP")] == ["10.0.0.9:80", "10.0.0.1:80"]


def test_control_characters_of_a_real_server_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in shown(services=(replace(SERVICE, servers=(replace(DOWN, reason="\x1b[2Jhi"),)),))


def test_the_document_is_ascii_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for reason in ("plain", "\x9b2Jhi caf\xe9"):
        state = state_of(services=(replace(SERVICE, servers=(replace(DOWN, reason=reason),)),))
        monkeypatch.setattr(verb, "fetch", lambda state=state: state)
        outcome = CliRunner().invoke(main, ["status", "--json"])
        assert outcome.output.isascii() and outcome.exit_code == 0
        document = state.document() | {"wrong": find_wrong(state)}
        assert json.loads(outcome.output) == json.loads(json.dumps(document))
        assert outcome.output == json.dumps(json.loads(outcome.output), indent=2) + "\n"
