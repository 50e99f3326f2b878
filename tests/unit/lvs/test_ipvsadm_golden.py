# SPDX-License-Identifier: Apache-2.0
"""Everything that the real ipvsadm 1.31 was seen to say, replayed: commands, errors, exit codes, listings.

tests/golden/4_ipvsadm_*.json.gz were recorded from ipvsadm on a kernel 6.1. Here the same commands go through
the same state on the memory data plane.
"""

from __future__ import annotations

import gzip
import io
import ipaddress
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli.ipvsadm import Session, SystemNames
from pointsman.control.client_messages import (
    ApplyReply,
    ApplyRequest,
    ErrorReply,
    Reply,
    Request,
    TableReply,
    TableRequest,
)
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.lvs.ipvsadm import listing
from pointsman.model.address import Address
from pointsman.model.service import ServerKey, ServiceKey, Transport
from pointsman.model.traffic import Connection, Counters, ServerCounters, ServiceCounters, Traffic

GOLDEN = Path(__file__).parents[2] / "golden"
PORTS = {"domain": 53, "http": 80, "https": 443, "syslog": 514, "mysql": 3306}
HASH_SIZE = 4096
"""The connection table of the recorded kernel."""


def golden(name: str) -> dict[str, Any]:
    with gzip.open(GOLDEN / f"{name}.json.gz") as file:
        recorded: dict[str, Any] = json.load(file)
    return recorded


OUTPUTS = golden("4_ipvsadm_outputs")
COMMANDS = golden("4_ipvsadm_errors")["commands"]


class RecordedNames(SystemNames):
    """The names that the recording host knew: a few of /etc/services, and no host but localhost."""

    def address(self, host: str) -> ipaddress.IPv4Address | None:
        del host
        return None

    def port(self, service: str, transport: Transport) -> int | None:
        del transport
        return PORTS.get(service)

    def host(self, address: Address) -> str | None:
        return "localhost" if address.is_loopback else None

    def service(self, port: int, transport: Transport) -> str | None:
        del transport
        return next((name for name, number in PORTS.items() if number == port), None)


class Director:
    """A director with a memory data plane; counters, rates and connections as a test sets them."""

    def __init__(self) -> None:
        self.plane = MemoryDataPlane()
        self.counters: Counters | None = None
        self.rates = Counters()
        self.connections: tuple[Connection, ...] = ()

    def ask(self, message: Request) -> Reply:
        match message:
            case TableRequest():
                return TableReply(
                    self.plane.read(),
                    self.counters or self.plane.counters(),
                    self.plane.timeouts(),
                    HASH_SIZE,
                    self.connections,
                    self.rates,
                )
            case ApplyRequest(operations):
                return ApplyReply(tuple(self.plane.apply(operations)))
            case _:
                return ErrorReply("not here")

    def run(self, command: str, stdin: str = "") -> dict[str, Any]:
        """The parts of a command in the golden files: cmd, stdout, stderr, exit."""
        program, *words = shlex.split(command)
        assert program == "ipvsadm"
        out, err = io.StringIO(), io.StringIO()
        code = Session(self.ask, RecordedNames(), stdin.splitlines(), out, err).run(words)
        return {"cmd": command, "stdout": out.getvalue(), "stderr": err.getvalue(), "exit": code}


# ---- errors


NOT_RECORDED = {40: "ipvsadm -E -t 192.168.100.9:80 -s rr -p"}
"""Ran before the recorded command with this number, and are missing in the file; their effect shows."""

SCATTERED = "illegal virtual server persistent mask specified: `%s' is not contiguous"
DIFFERENT: dict[int, tuple[str, str, int]] = {
    35: ("a mask of scattered bits groups no network of clients", SCATTERED % "255.0.255.0", 2),
    37: ("ipvsadm reads 24 as 0.0.0.24, which nobody means", SCATTERED % "24", 2),
    47: ("there is no SIP engine here", "Scheduler or persistence engine not found", 255),
}
"""Number of the recorded command: why ours refuses it, the beginning of what it says, its exit code."""

CONSEQUENCE = {36: "-A -t 192.168.100.9:80 -s wlc\n"}
"""Recorded commands whose output differs because an earlier one was refused."""

ELSEWHERE = {131: "reads standard input", 152: "the kernel's check of capabilities: see test_control"}


def leftover_counters(number: int) -> Counters | None:
    """The recorded kernel still had connections of an earlier test when servers were added again."""
    left = {
        91: (ServiceKey.of(Transport.TCP, VIP4, 80), [("192.168.100.11", 1, 1)]),
        146: (ServiceKey.of(Transport.TCP, VIP6, 80), [("fd00:100::11", 2, 0), ("fd00:100::12", 1, 0)]),
    }
    if number not in left:
        return None
    key, servers = left[number]
    counted = tuple(
        ServerCounters(ServerKey(ipaddress.ip_address(host), 80), active, inactive)
        for host, active, inactive in servers
    )
    return Counters(services=(ServiceCounters(key, servers=counted),))


VIP4 = ipaddress.ip_address("192.168.100.9")
VIP6 = ipaddress.ip_address("fd00:100::9")


def test_every_recorded_command_is_answered_as_ipvsadm_answered_it() -> None:
    director = Director()
    compared = 0
    for number, recorded in enumerate(COMMANDS):
        if "cmd" not in recorded or number in ELSEWHERE:
            continue
        if number in NOT_RECORDED:
            director.run(NOT_RECORDED[number])
        director.counters = leftover_counters(number)
        answer = director.run(recorded["cmd"])
        if number in DIFFERENT:
            _, beginning, code = DIFFERENT[number]
            assert recorded["exit"] == 0
            assert answer["stderr"].startswith(beginning)
            assert answer["exit"] == code
        elif number in CONSEQUENCE:
            assert answer == {**recorded, "stdout": CONSEQUENCE[number]}
        else:
            assert answer == recorded, number
            compared += 1
    assert compared == 143


def test_restore_of_nothing_does_nothing() -> None:
    assert Director().run("ipvsadm -R")["exit"] == COMMANDS[131]["exit"] == 0


# ---- listings


OTHER_TUNNELS = re.compile(r" --tun-(?:type g\w+|port \d+|n?o?csum)")
TUNNEL_COLUMNS = {"gre:+c       ": "ipip         ", "gue:6080:-c  ": "ipip         "}


def without_other_tunnels(text: str) -> str:
    """The recorded table has a gue and a gre tunnel, which are ipip here: the one thing that differs."""
    lines = []
    for line in text.splitlines(keepends=True):
        plain = OTHER_TUNNELS.sub("", line)
        lines.append(plain if plain == line else plain.replace("\n", " --tun-type ipip\n"))
    text = "".join(lines)
    for column, ipip in TUNNEL_COLUMNS.items():
        text = text.replace(column, ipip)
    return text


def key_of(line: str) -> ServiceKey:
    kind, place, *rest = line.split()
    if kind == "FWM":
        return ServiceKey.mark(int(place) % 2**32, "IPv6" in rest)
    host, _, port = place.rpartition(":")
    return ServiceKey.of(Transport[kind], ipaddress.ip_address(host.strip("[]")), int(port))


def read_numbers(text: str) -> dict[tuple[ServiceKey, str | None], list[str]]:
    """The columns of a recorded listing, by service and real server."""
    found: dict[tuple[ServiceKey, str | None], list[str]] = {}
    service: ServiceKey | None = None
    for line in text.splitlines():
        if line.startswith(("TCP", "UDP", "SCTP", "FWM")):
            service = key_of(line)
            found[service, None] = line.split()[-5:]
        elif line.startswith("  -> ") and service is not None:
            found[service, line.split()[1]] = line.split()[2:]
    return found


def output(command: str) -> str:
    text: str = next(item["stdout"] for item in OUTPUTS["outputs"] if item["cmd"] == command)
    return text


def traffic(columns: list[str]) -> Traffic:
    connections, packets, packets_out, octets, octets_out = map(int, columns)
    return Traffic(connections, packets, octets, packets_out, octets_out)


def counters_of(stats: str, persistent: str) -> Counters:
    """Counters from the numbers of a recorded --stats (or --rate) and --persistent-conn."""
    numbers, connected = read_numbers(stats), read_numbers(persistent)
    services = []
    for (service, server), columns in numbers.items():
        if server is None:
            mine = [(name, item) for (key, name), item in numbers.items() if key == service and name]
            counted = []
            for name, item in mine:
                host, _, port = name.rpartition(":")
                _, templates, active, inactive = map(int, connected[service, name])
                where = ServerKey(ipaddress.ip_address(host.strip("[]")), int(port))
                counted.append(ServerCounters(where, active, inactive, templates, traffic(item)))
            services.append(ServiceCounters(service, traffic(columns), tuple(counted)))
    return Counters(services=tuple(services))


def read_connections(text: str) -> tuple[Connection, ...]:
    """Connections from a recorded -Lcn."""
    found = []
    for line in text.splitlines()[2:]:
        protocol, expires, state, *places = line.split()
        (client, cport), (virtual, vport), (server, sport) = (
            (ipaddress.ip_address(host.strip("[]")), int(port))
            for host, _, port in (place.rpartition(":") for place in places)
        )
        minutes, seconds = map(int, expires.split(":"))
        found.append(
            Connection(
                transport=Transport[protocol],
                client=client,
                client_port=cport,
                virtual=virtual,
                virtual_port=vport,
                server=server,
                server_port=sport,
                state=state,
                expires=minutes * 60 + seconds + 0.9,
            )
        )
    return tuple(found)


@pytest.fixture(scope="module")
def director() -> Director:
    """The recorded table, made by the recorded commands, with the recorded numbers in it."""
    made = Director()
    for item in OUTPUTS["setup"]:
        answer = made.run(re.sub(r" --tun-(type \w+|port \d+|n?o?csum)", "", item["cmd"]))
        assert (answer["stderr"], answer["exit"]) == ("", 0)
    persistent = output("ipvsadm -Ln --persistent-conn")
    made.counters = counters_of(output("ipvsadm -Ln --stats"), persistent)
    made.rates = counters_of(output("ipvsadm -Ln --rate"), persistent)
    made.connections = read_connections(output("ipvsadm -Lcn"))
    return made


UNSORTED = "ipvsadm -Ln --nosort"


@pytest.mark.parametrize("recorded", OUTPUTS["outputs"], ids=lambda item: item["cmd"])
def test_listing_is_byte_for_byte_ipvsadms(director: Director, recorded: dict[str, Any]) -> None:
    answer = director.run(recorded["cmd"])
    expected = {**recorded, "stdout": without_other_tunnels(recorded["stdout"])}
    if recorded["cmd"] == UNSORTED:
        # Services come in the order of a hash with a random key; within them the order means something.
        answer["stdout"] = blocks(answer["stdout"])
        expected["stdout"] = blocks(expected["stdout"])
    assert answer == expected


def blocks(text: str) -> list[str]:
    return sorted(re.split(r"\n(?=\S)", text.rstrip("\n")))


def test_the_comparison_of_unsorted_listings_sees_the_order_of_real_servers(director: Director) -> None:
    text = output(UNSORTED)
    first, second = "192.168.100.12:443 ", "192.168.100.11:443 "
    swapped = text.replace(first, "x").replace(second, first).replace("x", second)
    assert blocks(swapped) != blocks(text)
    assert blocks(director.run("ipvsadm -Ln")["stdout"]) != blocks(text)


def test_all_but_the_tunnels_of_other_types_is_compared_as_recorded() -> None:
    changed = [
        item["cmd"] for item in OUTPUTS["outputs"] if without_other_tunnels(item["stdout"]) != item["stdout"]
    ]
    assert changed == ["ipvsadm -S", "ipvsadm -Sn", "ipvsadm -Ln --tun-info", "ipvsadm -L --tun-info"]


@pytest.mark.parametrize("recorded", OUTPUTS["empty"].values(), ids=OUTPUTS["empty"])
def test_an_empty_table(recorded: dict[str, Any]) -> None:
    assert Director().run(recorded["cmd"]) == recorded


@pytest.mark.parametrize("recorded", OUTPUTS["version"], ids=lambda item: item["cmd"])
def test_version(recorded: dict[str, Any]) -> None:
    assert Director().run(recorded["cmd"]) == recorded


@pytest.mark.parametrize("part", ["out", "exact"])
def test_rates_under_traffic(director: Director, part: str) -> None:
    recorded = OUTPUTS["rate_under_traffic"][part]
    was, director.rates = (
        director.rates,
        counters_of(recorded["stdout"], output("ipvsadm -Ln --persistent-conn")),
    )
    try:
        assert director.run(recorded["cmd"]) == recorded
    finally:
        director.rates = was


def test_order_of_services_and_of_real_servers() -> None:
    ordering = OUTPUTS["ordering"]
    director = Director()
    for command in (
        "-A -t 192.168.100.9:80",
        "-a -t 192.168.100.9:80 -r 192.168.100.12",
        "-a -t 192.168.100.9:80 -r 192.168.100.11",
        "-a -t 192.168.100.9:80 -r 192.168.100.14",
        "-a -t 192.168.100.9:80 -r 192.168.100.13",
        "-A -t 192.168.100.9:9",
        "-A -t 192.168.100.10:80",
        "-A -u 192.168.100.9:80",
        "-A -f 3",
        "-A -t 192.168.100.9:443",
        "-A -f 12",
    ):
        scheduler = " -s rr" if command.startswith("-A") else ""
        assert director.run(f"ipvsadm {command}{scheduler}")["exit"] == 0
    director.counters = counters_of_connected(ordering["sorted(default)"]["stdout"])
    assert director.run("ipvsadm -Ln") == ordering["sorted(default)"]
    assert director.run("ipvsadm -Sn") == ordering["save"]
    assert blocks(director.run("ipvsadm -Ln --nosort")["stdout"]) == blocks(ordering["nosort"]["stdout"])


def counters_of_connected(text: str) -> Counters:
    """The connections in a recorded plain listing."""
    services: dict[ServiceKey, list[ServerCounters]] = {}
    for (service, server), columns in read_numbers(text).items():
        if server is not None:
            host, _, port = server.rpartition(":")
            key = ServerKey(ipaddress.ip_address(host.strip("[]")), int(port))
            services.setdefault(service, []).append(ServerCounters(key, int(columns[2]), int(columns[3])))
    return Counters(
        services=tuple(ServiceCounters(key, servers=tuple(item)) for key, item in services.items())
    )


# ---- save and restore


def test_what_is_saved_can_be_restored() -> None:
    recorded = OUTPUTS["restore"]
    rules = without_other_tunnels(recorded["input"])
    director = Director()
    assert director.run("ipvsadm -R", rules)["exit"] == recorded["run"]["exit"] == 0
    assert director.run("ipvsadm -Sn")["stdout"] == rules
    again = director.run("ipvsadm -R", rules)
    on_top = recorded["restore_on_top_of_existing"]
    assert (again["stderr"], again["exit"]) == (on_top["stderr"], on_top["exit"])


def test_restore_stops_at_a_line_that_cannot_be_read_and_keeps_what_came_before() -> None:
    recorded = OUTPUTS["restore"]
    director = Director()
    bad = director.run("ipvsadm -R", "-A -t 192.168.100.9:2 -s rr\n-x\n-A -t 192.168.100.9:3 -s rr\n")
    assert (bad["stderr"], bad["exit"]) == (
        recorded["restore_bad"]["stderr"],
        recorded["restore_bad"]["exit"],
    )
    assert director.run("ipvsadm -Sn")["stdout"] == "-A -t 192.168.100.9:2 -s rr\n"
    comment = director.run("ipvsadm -R", "# c\n\n-A -t 192.168.100.9:1 -s rr\n")
    assert (comment["stderr"], comment["exit"]) == (
        recorded["restore_comment_and_blank"]["stderr"],
        recorded["restore_comment_and_blank"]["exit"],
    )


def test_the_exit_code_of_restore_is_that_of_its_last_line() -> None:
    director = Director()
    twice = "-A -t 192.168.100.9:1 -s rr\n-A -t 192.168.100.9:1 -s rr\n"
    assert director.run("ipvsadm -R", twice)["exit"] == 255
    fine_at_last = director.run("ipvsadm -R", twice + "-A -t 192.168.100.9:2 -s rr\n")
    assert fine_at_last["stderr"] == "Service already exists\n" * 2
    assert fine_at_last["exit"] == 0


# ---- what is not in the recorded outputs


def test_the_template_of_a_firewall_mark_shows_the_mark_as_an_address() -> None:
    """Recorded in 2_persistence: `IP  09:59  ASSURED     10.27.0.3:0  0.0.0.5:0  192.168.100.11:0`."""
    template = Connection(
        transport=Transport.TCP,
        client=ipaddress.ip_address("10.27.0.3"),
        client_port=0,
        virtual=VIP4,
        virtual_port=0,
        server=ipaddress.ip_address("192.168.100.11"),
        server_port=0,
        state="ASSURED",
        expires=599.2,
        fwmark=5,
    )
    line = listing.connections([template]).splitlines()[2]
    assert line == "IP  09:59  ASSURED     10.27.0.3:0        0.0.0.5:0          192.168.100.11:0"


def test_the_directors_refusal_is_shown_as_it_is() -> None:
    out, err = io.StringIO(), io.StringIO()
    denied = "permission denied: only root may change the table"
    session = Session(lambda _: ErrorReply(denied), RecordedNames(), [], out, err)
    assert session.run(["-C"]) == 255
    assert (out.getvalue(), err.getvalue()) == ("", f"{denied}\n")
