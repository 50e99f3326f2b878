# SPDX-License-Identifier: Apache-2.0
"""Reports of several hosts, merged: one connection, different clocks, packets lost between hosts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pointsman.trace.connection import Decision, Drop, Place, Sighting
from pointsman.trace.frames import Frame
from pointsman.trace.report import HostReport, Merged, merge, rename_host

VIP, PORT = "192.168.7.33", 8000
CLIENT, DIRECTOR, DIRECTOR_OUT, SERVER = (f"02:00:00:00:00:0{number}" for number in range(4))
SYN = Frame(
    source_mac=CLIENT, destination_mac=DIRECTOR, source="192.168.7.2", source_port=5000,
    destination=VIP, destination_port=PORT, ttl=64, flags="S", sequence=100, acknowledgement=0, length=0,
)  # fmt: skip
ON = {"source_mac": DIRECTOR_OUT, "destination_mac": SERVER, "ttl": 63}
SYN_ACK = Frame(
    source_mac=SERVER, destination_mac=CLIENT, source=VIP, source_port=PORT,
    destination="192.168.7.2", destination_port=5000, ttl=64, flags="S.",
    sequence=900, acknowledgement=101, length=0,
)  # fmt: skip
DECISION = Decision(
    director="lb", client="192.168.7.2", client_port=5000, server="192.168.88.20:8000", state="SYN_RECV",
    scheduler="rr", persistent=False,
)  # fmt: skip


def seen(
    host: str, interface: str, role: str, sends: bool, time: float, frame: Frame, **changed: Any
) -> Sighting:
    return Sighting(Place(host, interface, role, sends), time, msgspec.structs.replace(frame, **changed))


def director(*more: Sighting, **fields: Any) -> HostReport:
    sightings = (
        seen("lb", "eth7", "director", False, 10.0, SYN),
        seen("lb", "eth8", "director", True, 10.001, SYN, **ON),
        *more,
    )
    told: dict[str, Any] = {
        "sightings": sightings,
        "decisions": (DECISION,),
        "hosts": {SERVER: "192.168.88.20"},
        "own": (DIRECTOR, DIRECTOR_OUT),
    }
    return HostReport(host="lb", role="director", vip=VIP, port=PORT, **(told | fields))


def server(
    clock: float = 0.0, name: str = "web", mac: str = SERVER, answers: bool = True, **fields: Any
) -> HostReport:
    arrival = seen(
        name, "eth12", "real server", False, 10.002 + clock, SYN, **(ON | {"destination_mac": mac})
    )
    answer = seen(name, "eth14", "real server", True, 10.003 + clock, SYN_ACK)
    told: dict[str, Any] = {"sightings": (arrival, answer) if answers else (arrival,), "own": (mac,)}
    return HostReport(host=name, role="real server", vip=VIP, port=PORT, **(told | fields))


def places(merged: Merged) -> list[str]:
    return [str(hop.place) for hop in (*merged.trace.request, *merged.trace.answer)]


def bad(merged: Merged) -> list[str]:
    return [finding.text for finding in merged.trace.findings if not finding.ok]


@pytest.mark.parametrize("clock", [0.0, 3.0, -3600.0])
def test_one_story_whatever_the_clocks_say(clock: float) -> None:
    merged = merge([server(clock), director()])
    assert places(merged) == ["lb:eth7 receives", "lb:eth8 sends", "web:eth12 receives", "web:eth14 sends"]
    assert bad(merged) == []
    assert merged.remark == ("the clock of web is at least 3599999.0 ms behind" if clock < 0 else "")
    assert merged.hosts[SERVER] == "web"


def test_a_server_that_was_not_chosen_says_nothing() -> None:
    idle = HostReport(host="idle", role="real server", vip=VIP, port=PORT, own=("02:00:00:00:00:99",))
    assert bad(merge([director(), idle, server()])) == []


def test_what_is_lost_between_two_hosts_is_said() -> None:
    deaf = server(sightings=())
    assert bad(merge([director(), deaf])) == [
        "web did not receive what was sent to its MAC address: lost between the hosts"
    ]
    by_xdp = director(sightings=())  # no packet socket sees what XDP forwards: the connection table tells
    assert bad(merge([by_xdp, deaf])) == [
        "web did not receive what was sent to its MAC address: lost between the hosts"
    ]


def test_a_director_that_changes_more_is_found_out() -> None:
    altered = director(sightings=(
        seen("lb", "eth7", "director", False, 10.0, SYN),
        seen("lb", "eth8", "director", True, 10.001, SYN, **ON, destination_port=80),
    ))  # fmt: skip
    assert "lb changed the request: destination port 8000 -> 80" in bad(merge([altered, server()]))


def test_a_tunnel_on_the_way_is_no_mistake() -> None:
    within = {**ON, "tunnel": "gue 10.2.0.1 > 10.3.0.11"}
    sender = director(sightings=(
        seen("lb", "eth7", "director", False, 10.0, SYN),
        seen("lb", "eth8", "director", True, 10.001, SYN, **within),
    ))  # fmt: skip
    merged = merge(
        [sender, server(sightings=(seen("web", "eth12", "real server", False, 10.002, SYN, **within),))]
    )
    assert "lb put the request into a tunnel: gue 10.2.0.1 > 10.3.0.11" in [
        finding.text for finding in merged.trace.findings
    ]
    assert not [text for text in bad(merged) if "changed" in text]


def test_the_drop_of_another_connection_is_not_told() -> None:
    drop = Drop(host="web", interface="eth12", reason="NETFILTER_DROP", function="", answer=False)
    mine = msgspec.structs.replace(drop, client="192.168.7.2", client_port=5000)
    other = msgspec.structs.replace(drop, client="192.168.7.3", client_port=5000)
    assert [
        text for text in bad(merge([director(), server(answers=False, drops=(other,))])) if "dropped" in text
    ] == []
    told = bad(merge([director(), server(answers=False, drops=(mine,))]))
    assert told[-1].startswith("the kernel of web dropped the request on eth12: NETFILTER_DROP")


def test_the_connection_that_most_hosts_saw_is_followed() -> None:
    early = seen("lb", "eth7", "director", False, 9.0, SYN, source="192.168.7.9", source_port=1)
    assert places(merge([director(early), server()]))[0] == "lb:eth7 receives"
    assert merge([director(early), server()]).trace.request[0].frame.source == "192.168.7.2"


def test_reports_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="from one host"):
        merge([director(), director()])
    with pytest.raises(ValueError, match="different services"):
        merge([director(), msgspec.structs.replace(server(), port=80)])
    assert bad(merge([director(), rename_host(server(), "other")])) == []


def test_a_report_survives_json() -> None:
    report = director(seen("lb", "eth7", "director", False, 11.0, SYN))
    with_bytes = msgspec.structs.replace(
        report, sightings=tuple(msgspec.structs.replace(item, data=b"\0\xff") for item in report.sightings)
    )
    assert msgspec.convert(msgspec.to_builtins(with_bytes), HostReport) == with_bytes
