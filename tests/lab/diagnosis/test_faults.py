# SPDX-License-Identifier: Apache-2.0
"""Faults in both labs: the doctor names each, its remedy mends it, and a healthy lab gets no complaint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import waiting
from pointsman.lab.faults import runner as fault_runner
from pointsman.lab.faults.cluster import FAULTS, find_fault
from pointsman.lab.faults.fault import Fault
from pointsman.lab.faults.runner import Outcome
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import dual_homed, ha_pair

pytestmark = [pytest.mark.root, pytest.mark.slow]

PREFIX = f"pmt-faults-{os.getpid()}"
BY_HAND = {
    "no-vip-delivery", "arp-conflict", "mtu-black-hole", "dead-service", "wrong-gateway",
    "duplicate-address", "same-vrid", "two-masters", "director-as-gateway", "no-real-server", "vip-missing",
    "empty-table", "wrong-password",
}  # fmt: skip
"""Their remedy lies on another host, or needs what only the administrator knows: the doctor gives advice."""
DEMONSTRATED = (
    "no-vip", "arp-ignore", "vip-on-nic", "noarp", "rp-filter", "director-as-gateway", "no-real-server",
    "vip-missing", "no-vip-delivery", "arp-conflict", "wrong-mac", "mtu-black-hole", "firewall",
    "firewall-answers", "dead-service", "wrong-gateway", "duplicate-address", "same-vrid", "two-masters",
    "off-link", "weight-0", "default-deny",
)  # fmt: skip
"""Half of them, and all that only probes of a real network find. `pointsman lab faults --run` runs all."""


SHOWN = {
    "no-vip-delivery": "dropped the request on ens224 (in ip_error): IP_INADDRERRORS, the VIP is not",
    "arp-conflict": "00:50:56:9f:be:0a (lb-01) and 00:50:56:9f:be:d6 (web-01) answer ARP for 192.168.100.9",
    "wrong-mac": "(lb-01:ens224 sends, to 02:00:00:00:00:66): no real server received it",
    "firewall-answers": "the kernel of web-01 dropped the answer (in nft_do_chain): NETFILTER_DROP",
    "weight-0": "counted no_destination",
    "no-vip": "dropped the request on ens224 (in ip_error): IP_INADDRERRORS, the VIP is not",
    "arp-ignore": "(web-01) answer ARP for 192.168.100.9",
    "vip-on-nic": "(web-02) answer ARP for 192.168.100.9",
    "noarp": "check that ARP is on for ens224",
    "rp-filter": "the kernel of server dropped the request on eth12 (in ip_rcv_finish_core): IP_RPFILTER",
    "director-as-gateway": "the answer went through the director lb-01",
    "no-real-server": "counted no_destination",
    "vip-missing": "no host answers ARP",
}
"""Texts in the trace of some faults."""


@pytest.fixture(scope="module")
def labs() -> Iterator[dict[str, Lab]]:
    with Lab("ha-pair", prefix=PREFIX) as pair, Lab("dual-homed", prefix=f"{PREFIX}d") as dual:
        yield {lab.topology.name: lab for lab in (pair, dual)}


def test_there_are_enough_of_them() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
    assert len({fault.check for fault in FAULTS}) >= 15


@pytest.mark.parametrize("name", DEMONSTRATED)
def test_the_doctor_names_it_and_its_remedy_mends_it(labs: dict[str, Lab], name: str) -> None:
    fault = find_fault(name)
    outcome = fault_runner.demonstrate(labs[fault.topology], fault, traced=name in SHOWN)
    assert SHOWN.get(name, "") in outcome.trace
    assert outcome.doctor.startswith(f"{fault.check}: "), outcome
    assert outcome.healthy, outcome.mended
    assert outcome.mended == ("by hand" if name in BY_HAND else "by the remedy")


@pytest.mark.parametrize("topology", ["ha-pair", "dual-homed"])
def test_no_complaint_about_any_node_after_all_that(labs: dict[str, Lab], topology: str) -> None:
    lab = labs[topology]
    waiting.until(lambda: fault_runner.is_healthy(lab), DEADLINE, "the doctor finds nothing")


def test_fix_does_what_is_safe_and_says_so(labs: dict[str, Lab]) -> None:
    web = labs["ha-pair"].node("web-01")
    web.run(["ip", "address", "del", f"{ha_pair.VIP}/32", "dev", "lo"])
    found = web.run(["pointsman", "doctor"], check=False)
    assert found.returncode == 1
    assert f"✗ vip-on-lo  {ha_pair.VIP} is not an address of this host" in found.stdout
    assert f"pointsman realserver up {ha_pair.VIP}" in found.stdout
    fixed = web.run(["pointsman", "doctor", "--fix"])
    assert fixed.stdout.startswith(f"fix: pointsman realserver up {ha_pair.VIP}\nreal server: no fault found")
    assert f"{ha_pair.VIP}/32" in web.addresses("lo")


def test_a_trace_shows_where_strict_rp_filter_ends_the_way(labs: dict[str, Lab]) -> None:
    outcome = fault_runner.demonstrate(labs["dual-homed"], find_fault("rp-filter"), traced=True)
    assert outcome.ok
    assert outcome.trace == (
        "server received the request at hop 4 and sent no answer; the kernel of server dropped the request "
        "on eth12 (in ip_rcv_finish_core): IP_RPFILTER, the route to the client uses another interface than "
        "the one the request arrived on. Remedy: sysctl -w net.ipv4.conf.eth12.rp_filter=2"
    )


def test_a_trace_of_a_healthy_lab_knows_the_data_planes_decision(
    labs: dict[str, Lab], tmp_path: Path
) -> None:
    lab, file = labs["dual-homed"], tmp_path / "trace.pcapng"
    line = [sys.executable, "-m", "pointsman.cli.main", "trace", "--prefix", lab.prefix, "--json"]
    done = subprocess.run(
        [*line, "--pcap", str(file), f"{dual_homed.VIP}:{dual_homed.PORT}"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["remark"]) == (0, True, "")
    (decision,) = said["trace"]["decisions"]
    assert (decision["director"], decision["scheduler"]) == ("lvs", "rr")
    assert decision["server"] == f"{dual_homed.REAL_SERVER}:{dual_homed.PORT}"
    assert b"hop 3: lvs:eth8 sends; changed: source MAC" in file.read_bytes()


def test_break_and_mend_on_the_command_line(labs: dict[str, Lab]) -> None:
    lab = labs["dual-homed"]

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "pointsman.cli.main", "lab", "--prefix", lab.prefix, *words]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert command("mend").stdout == "nothing is broken\n"
    said = command("break", "weight-0").stdout
    assert f"exec lvs -- pointsman doctor\nback: {lab.command} mend weight-0" in said
    try:
        (service,) = [item for item in fault_runner.examine(lab, "lvs") if item["check"] == "service"]
        assert f"TCP {dual_homed.VIP}:{dual_homed.PORT} has weight 0" in service["found"]
    finally:
        assert command("mend").stdout == "weight-0: undone\n"
    assert fault_runner.complaints(lab, "lvs") == []
    assert command("break", "no-vip").returncode == 1  # ha-pair has another prefix here


def test_a_trace_that_met_nothing_of_a_fault_says_who_finds_it(labs: dict[str, Lab]) -> None:
    lab = labs["dual-homed"]
    line = [sys.executable, "-m", "pointsman", "trace", "--prefix", lab.prefix]
    line.append(f"{dual_homed.VIP}:{dual_homed.PORT}")
    hint = f"but this connection did not meet it: {lab.command} exec lvs -- pointsman doctor"
    with_faults = {}
    for name in ("director-mtu", "weight-0"):
        fault_runner.break_(lab, find_fault(name))
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=False)
        finally:
            fault_runner.mend(lab, find_fault(name))
        with_faults[name] = (
            done.returncode,
            f"{name} is broken in this lab, {hint}" in " ".join(done.stdout.split()),
        )
    assert with_faults == {"director-mtu": (0, True), "weight-0": (1, False)}
    assert "is broken" not in subprocess.run(line, capture_output=True, text=True, check=True).stdout


def test_a_fault_that_cannot_be_made_is_a_row_and_not_the_end() -> None:
    hopeless = Fault(
        "hopeless", "server", "", "link", ("echo half way", "exit 7"), (), topology=dual_homed.TOPOLOGY.name
    )
    told: list[Outcome] = []
    chosen = [hopeless, find_fault("vip-missing")]
    first, second = fault_runner.run_all(chosen, f"{PREFIX}h", "auto", told.append, traced=False)
    assert told == [first, second]
    assert (first.fault, first.ok, "exit code 7" in first.mended) == ("hopeless", False, True)
    assert (second.fault, second.ok, second.mended) == ("vip-missing", True, "by hand")


def test_a_host_that_is_neither_says_what_to_do(labs: dict[str, Lab]) -> None:
    done = labs["ha-pair"].node("mail").run(["pointsman", "doctor", "--json"], check=False)
    assert done.returncode == 2
    assert "pointsman doctor VIP[:PORT]" in done.stderr


def test_the_json_bears_all_of_it(labs: dict[str, Lab]) -> None:
    done = labs["ha-pair"].node("lb-01").run(["pointsman", "doctor", "--json"])
    document = json.loads(done.stdout)
    assert document["ok"] is True
    (diagnosis,) = document["diagnoses"]
    assert diagnosis["role"] == "director"
    delivered = [item["found"] for item in diagnosis["findings"] if item["check"] == "delivery"]
    assert sorted(delivered) == [
        f"{web} accepts connections to {ha_pair.VIP}:{port}"
        for web in ha_pair.WEB_SERVERS.values()
        for port in (443, 80)
    ]


def test_both_hosts_tell_their_part_of_the_next_connection(labs: dict[str, Lab], tmp_path: Path) -> None:
    lab = labs["dual-homed"]
    service = f"{dual_homed.VIP}:{dual_homed.PORT}"
    words = ["pointsman", "trace", "--here", "--seconds", "60", "--client", "192.168.7.2"]
    told = {name: lab.node(name).log("here") for name in ("lvs", "server")}
    waits = []
    for name, log in told.items():
        line = [*words, "--pcap", str(tmp_path / name), service]
        waits.append(lab.node(name).popen(line, log="here"))
        waiting.until(partial(_says, log, "waiting for a connection"), DEADLINE, f"{name} waits")
    lab.node("client").run(["curl", "-s", f"http://{service}/"])
    codes = [child.wait(DEADLINE) for child in waits]
    text = {name: log.read_text() for name, log in told.items()}
    assert codes == [0, 0], text
    assert f": {dual_homed.REAL_SERVER}:{dual_homed.PORT}, now " in text["lvs"]
    assert "chosen: rr, and it is the only real server" in text["lvs"]
    assert "✓ the request arrived on eth12 from 00:16:3e:5d:a6:b3" in text["server"]
    assert "✓ the answer left on eth14 to 00:1a:a0:21:21:65" in text["server"]
    assert b"hop 2" in (tmp_path / "server").read_bytes()


def _says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


PAIRS = (("MASTER", "BACKUP"), ("BACKUP", "MASTER"))
"""States of both directors. With equal priorities the present master stays; some faults change it."""


def test_a_pair_of_directors_is_compared(labs: dict[str, Lab], tmp_path: Path) -> None:
    lab = labs["ha-pair"]
    here = lab.node("lb-01")
    reach = f"{sys.executable} -m pointsman lab --prefix {lab.prefix} exec lb-02 --"
    alike = here.run(["pointsman", "doctor", "--peer", reach, "--all"])
    assert "peer lb-02: nothing wrong" in alike.stdout
    states = {f"VI_1_IPv4 is {one} here and {other} on lb-02" for one, other in PAIRS}
    assert any(text in alike.stdout for text in states), alike.stdout
    facts = json.loads(lab.node("lb-02").run(["pointsman", "doctor", "--facts"]).stdout)
    facts["version"] = "0.0.1"
    del facts["services"][f"TCP {ha_pair.VIP}:80"]
    (tmp_path / "lb-02").write_text(json.dumps(facts))
    differs = here.run(["pointsman", "doctor", "--peer", str(tmp_path / "lb-02")], check=False)
    assert differs.returncode == 1
    assert f"✗ peer-services  TCP {ha_pair.VIP}:80 is active only here" in differs.stdout
    unreachable = here.run(["pointsman", "doctor", "--peer", "false"], check=False)
    assert (unreachable.returncode, "--peer false: exit code 1" in unreachable.stderr) == (2, True)
