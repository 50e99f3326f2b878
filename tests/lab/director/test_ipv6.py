# SPDX-License-Identifier: Apache-2.0
"""Both families at once through one director: real clients, servers and checks, and a large download."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import services, waiting
from pointsman.lab.errors import LabError
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node
from pointsman.lab.topologies import ha_pair
from pointsman.lab.tracing import trace

pytestmark = pytest.mark.root

VIP6 = "fd00:100::9"
OUTSIDE, INSIDE = "fd00:203::", "fd00:100::"
HOSTS = {"router": 1, "gw-01": 2, "gw-02": 3, "lb-01": 10, "web-01": 20, "web-02": 21}
NAMES = {f"{INSIDE}{HOSTS[name]}": name for name in ("web-01", "web-02")}
CONF = """
vrrp_instance VI_1 {{
    interface ens224
    virtual_router_id 51
    priority 200
    virtual_ipaddress {{
        {vip}/26 dev ens224
    }}
    virtual_ipaddress_excluded {{
        {vip6}/128 dev ens224
    }}
}}
virtual_server {vip} 80 {{
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 192.168.100.20 80 {{
        TCP_CHECK {{
        }}
    }}
    real_server 192.168.100.21 80 {{
        TCP_CHECK {{
        }}
    }}
}}
virtual_server {vip6} 80 {{
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server {inside}20 80 {{
        TCP_CHECK {{
        }}
    }}
    real_server {inside}21 80 {{
        HTTP_GET {{
            url {{
                path /
                status_code 200
            }}
            connect_timeout 1
        }}
    }}
}}
"""


def address(node: Node, text: str, interface: str) -> None:
    node.run(["ip", "-6", "address", "add", text, "dev", interface, "nodad"])


def build(lab: Lab) -> None:
    """IPv6 beside the topology's IPv4: the same hosts, the same ways."""
    for name, number in HOSTS.items():
        address(lab.node(name), f"{INSIDE}{number}/64", "ens224")
    for name, number in {"client": 10, "router": 1, "gw-01": 2, "gw-02": 3}.items():
        address(lab.node(name), f"{OUTSIDE}{number}/64", "ens192")
    for name in ("router", "gw-01", "gw-02"):
        lab.node(name).sysctl("net.ipv6.conf.all.forwarding", "1")
    routes = {"client": f"{OUTSIDE}1", "lb-01": f"{INSIDE}1", "web-01": f"{INSIDE}2", "web-02": f"{INSIDE}3"}
    for name, gateway in routes.items():
        lab.node(name).run(["ip", "-6", "route", "add", "default", "via", gateway])
    for name in NAMES.values():
        lab.node(name).run(["pointsman", "realserver", "up", ha_pair.VIP, VIP6, "--interface", "ens224"])
        serve(lab.node(name), lab.directory / f"{name}-six")
    configuration = lab.directory / "six.conf"
    configuration.write_text(CONF.format(vip=ha_pair.VIP, vip6=VIP6, inside=INSIDE))
    services.start_director(lab.node("lb-01"), ["-f", str(configuration)], lab.xdp_mode)


def serve(node: Node, directory: Path) -> None:
    """A web server of both families in nginx's place; its page names the node, and there is a large file."""
    directory.mkdir(parents=True)
    (directory / "index.html").write_text(f"{node.name}\n")
    (directory / "large").write_bytes(os.urandom(1 << 20) * 16)
    node.popen(["python3", "-m", "http.server", "80", "--bind", "::"], log="six", directory=directory)


def get(client: Node, url: str, *words: str) -> str:
    return client.run(["curl", "--silent", "--fail", "--max-time", "10", *words, url]).stdout.strip()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-six-{os.getpid()}", programs=False) as made:
        build(made)
        client = made.node("client")
        for vip in (ha_pair.VIP, f"[{VIP6}]"):
            waiting.until(partial(answers, client, vip), DEADLINE, f"{vip} answers")
        yield made


def answers(client: Node, host: str) -> bool:
    try:
        return bool(get(client, f"http://{host}/", "--max-time", "1"))
    except LabError:
        return False


def test_both_families_are_balanced_at_once(lab: Lab) -> None:
    client = lab.node("client")
    urls = [f"http://{ha_pair.VIP}/", f"http://[{VIP6}]/"] * 10
    pages = Counter[tuple[str, str]]()
    for url in urls:
        pages[url, get(client, url)] += 1
    assert pages == {(url, name): 5 for url in set(urls) for name in NAMES.values()}


def test_a_large_answer_comes_whole_and_past_the_director(lab: Lab) -> None:
    size = get(
        lab.node("client"), f"http://[{VIP6}]/large", "--output", "/dev/null", "-w", "%{size_download}"
    )
    assert size == str(16 << 20)
    listed = lab.node("lb-01").run(["pointsman", "ipvsadm", "-Ln", "--stats", "--exact"]).stdout
    octets = {line.split()[1]: int(line.split()[5]) for line in listed.splitlines() if INSIDE in line}
    # 16 MB came back past it: what went through it are requests and acknowledgements.
    assert 0 < octets[f"[{VIP6}]:80"] < 4 << 20


def test_listings_are_ipvsadms(lab: Lab) -> None:
    director = lab.node("lb-01")
    get(lab.node("client"), f"http://[{VIP6}]/", "--local-port", "5000")
    listed = director.run(["pointsman", "ipvsadm", "-Ln", "-t", f"[{VIP6}]:80"]).stdout.splitlines()
    assert [line.split()[:4] for line in listed[2:]] == [
        ["TCP", f"[{VIP6}]:80", "rr"],
        ["->", f"[{INSIDE}20]:80", "Route", "1"],
        ["->", f"[{INSIDE}21]:80", "Route", "1"],
    ]
    connections = director.run(["pointsman", "ipvsadm", "-Lcn"]).stdout.splitlines()
    (mine,) = [line.split() for line in connections if f"[{OUTSIDE}10]:5000" in line]
    assert (mine[0], mine[2], mine[4]) == ("TCP", "FIN_WAIT", f"[{VIP6}]:80")
    assert mine[5] in [f"[{address}]:80" for address in NAMES]


def test_the_vip_answers_ping_and_a_closed_port_by_the_directors_stack(lab: Lab) -> None:
    client = lab.node("client")
    assert "1 received" in client.run(["ping", "-6", "-c", "1", "-W", "5", VIP6]).stdout
    with pytest.raises(LabError, match="exit code 7"):
        get(client, f"http://[{VIP6}]:81/")


def test_the_director_itself_serves_when_it_is_one_of_the_servers(lab: Lab) -> None:
    director, client = lab.node("lb-01"), lab.node("client")
    (lab.directory / "own-six").mkdir()
    (lab.directory / "own-six" / "index.html").write_text("lb-01\n")
    for vip, own in ((ha_pair.VIP, ha_pair.DIRECTORS["lb-01"]), (f"[{VIP6}]", f"[{INSIDE}10]")):
        words = ["-t", f"{vip}:8080", "-r", f"{own}:8080"]
        director.run(["pointsman", "ipvsadm", "-A", *words[:2], "-s", "rr"])
        director.run(["pointsman", "ipvsadm", "-a", *words])
        director.popen(["python3", "-m", "http.server", "8080", "--bind", vip.strip("[]")], log="own",
                       directory=lab.directory / "own-six")  # fmt: skip
        waiting.until(partial(answers, client, f"{vip}:8080"), DEADLINE, f"{vip}:8080 answers")
        assert get(client, f"http://{vip}:8080/") == "lb-01"
        connections = director.run(["pointsman", "ipvsadm", "-Lcn"]).stdout
        assert f"{own}:8080" in connections
        director.run(["pointsman", "ipvsadm", "-D", *words[:2]])


def test_a_dead_server_of_ipv6_leaves_that_familys_service_only(lab: Lab) -> None:
    director, web = lab.node("lb-01"), lab.node("web-01")
    web.run(["ip", "-6", "address", "del", f"{INSIDE}20/64", "dev", "ens224"])
    try:
        waiting.until(lambda: f"[{INSIDE}20]" not in table(director), DEADLINE, "it is taken out")
        assert "192.168.100.20:80" in table(director)
        pages = {get(lab.node("client"), f"http://[{VIP6}]/") for _ in range(4)}
        assert pages == {"web-02"}
    finally:
        address(web, f"{INSIDE}20/64", "ens224")
    waiting.until(lambda: f"[{INSIDE}20]" in table(director), DEADLINE, "it is put in again")


def table(director: Node) -> str:
    return director.run(["pointsman", "ipvsadm", "-Ln"]).stdout


THERE = ["client:ens192", "router:ens192", "router:ens224", "lb-01:ens224", "lb-01:ens224"]


def doctors_words(node: Node, *arguments: str) -> dict[str, list[str]]:
    """Return the doctor's findings about a node, by check."""
    found: dict[str, list[str]] = {}
    document = json.loads(node.run(["pointsman", "doctor", "--json", *arguments], check=False).stdout)
    for finding in (item for each in document["diagnoses"] for item in each["findings"]):
        if finding["verdict"] in ("fault", "warning"):
            found.setdefault(finding["check"], []).append(finding["found"])
    return found


def test_a_trace_follows_a_connection_through_the_director_and_past_it(lab: Lab) -> None:
    traced = trace(lab, VIP6, 80).trace
    (decision,) = traced.decisions
    web = {f"[{address}]:80": name for address, name in NAMES.items()}[decision.server]
    gateway = {"web-01": "gw-01", "web-02": "gw-02"}[web]
    hops = [*traced.request, *traced.answer]
    places = [f"{hop.place.host}:{hop.place.interface}" for hop in hops]
    back = [f"{web}:ens224", f"{gateway}:ens224", f"{gateway}:ens192", "client:ens192"]
    assert places == [*THERE, f"{web}:ens224", *back]
    changed = [[change.field for change in hop.changes] for hop in hops]
    macs = ["source_mac", "destination_mac", "ttl"]
    assert changed == [[], [], macs, [], macs, [], [], [], macs, []]
    assert (traced.answer[-1].frame.source, traced.answer[-1].frame.source_port) == (VIP6, 80)
    assert (decision.director, decision.scheduler, traced.ok) == ("lb-01", "rr", True)


def test_a_trace_and_the_doctor_find_the_missing_vip(lab: Lab) -> None:
    for name in NAMES.values():
        lab.node(name).run(["ip", "-6", "address", "del", f"{VIP6}/128", "dev", "lo"])
    try:
        findings = [finding.text for finding in trace(lab, VIP6, 80).trace.findings]
        web = lab.node("web-01")
        assert doctors_words(web, VIP6) == {"vip-on-lo": [f"{VIP6} is not an address of this host"]}
        delivery = doctors_words(lab.node("lb-01"))["delivery"]
    finally:
        for name in NAMES.values():
            lab.node(name).run(["pointsman", "realserver", "up", VIP6, "--interface", "ens224"])
    assert findings[-1].endswith(
        "IP_INADDRERRORS, the VIP is not an address of this host. Remedy: if it is a real server, "
        "pointsman realserver up fd00:100::9"
    )
    assert len([text for text in delivery if f"does not answer a SYN for [{VIP6}]:80" in text]) == 2
    assert trace(lab, VIP6, 80).trace.ok


def test_the_doctor_finds_a_small_mtu_and_a_gateway_that_is_not_there(lab: Lab) -> None:
    director, web = lab.node("lb-01"), lab.node("web-01")
    waiting.until(
        lambda: doctors_words(director) == doctors_words(web, VIP6) == {}, DEADLINE, "nothing is wrong"
    )
    web.run(["ip", "link", "set", "ens224", "mtu", "1400"])
    try:
        small = doctors_words(director)["mtu"]
    finally:
        web.run(["ip", "link", "set", "ens224", "mtu", "1500"])
    assert f"packets of 1500 bytes do not reach {INSIDE}20; short ones do" in small
    gateway = lab.node("gw-01")
    gateway.run(["ip", "link", "set", "ens224", "mtu", "1400"])
    try:
        long_answers = doctors_words(web, VIP6)["mtu"]
    finally:
        gateway.run(["ip", "link", "set", "ens224", "mtu", "1500"])
    assert f"packets of 1500 bytes do not reach the gateway {INSIDE}2; short ones do" in long_answers
    web.run(["ip", "-6", "route", "replace", "default", "via", f"{INSIDE}50"])
    try:
        gone = doctors_words(web, VIP6)["gateway"]
    finally:
        web.run(["ip", "-6", "route", "replace", "default", "via", f"{INSIDE}2"])
    assert gone == [f"the default gateway {INSIDE}50 on ens224 does not answer neighbour discovery"]


def test_a_real_server_without_the_vip_is_out_although_its_own_address_answers(lab: Lab) -> None:
    """DR_CHECK over IPv6, by a director that bears the VIP. The last test: the servers change their order."""
    director, web = lab.node("lb-01"), lab.node("web-01")
    file = lab.directory / "six.conf"
    own = f"real_server {INSIDE}20 80 {{\n"
    check = "        DR_CHECK {\n            url {\n                path /\n            }\n        }\n"
    file.write_text(file.read_text().replace(own, own + check))
    director.run(["pointsman", "reload"])
    service = ["pointsman", "ipvsadm", "-Ln", "-t", f"[{VIP6}]:80"]

    def is_in() -> bool:
        return f"[{INSIDE}20]:80" in director.run(service).stdout

    web.run(["ip", "-6", "address", "del", f"{VIP6}/128", "dev", "lo"])
    waiting.until(lambda: not is_in(), DEADLINE, "the real server without the VIP is out")
    status = " ".join(director.run(["pointsman", "status"], check=False).stdout.split())
    assert f"no answer to {INSIDE}10 within 5.0 s from [{VIP6}]:80 at {INSIDE}20" in status
    web.run(["ip", "-6", "address", "add", f"{VIP6}/128", "dev", "lo"])
    waiting.until(is_in, DEADLINE, "it is back with the VIP")
