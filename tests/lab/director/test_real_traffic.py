# SPDX-License-Identifier: Apache-2.0
"""Traffic of real programs through a whole cluster: wrk, curl, iperf3, fragments, a narrow path, SCTP.

Nothing else speaks to the real servers (no checks): what they count is what the director counts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import services, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.node import Node
from pointsman.lab.topologies import ha_pair

pytestmark = pytest.mark.root

VIP, VIP6 = ha_pair.VIP, "fd00:100::9"
WEB = {"192.168.100.20": "web-01", "192.168.100.21": "web-02"}
CLIENT = ha_pair.CLIENT_ADDRESSES[0]
HOSTS6 = {"client": ("ens192", "fd00:203::10"), "web-01": ("ens224", "fd00:100::20")}
HOSTS6 |= {"web-02": ("ens224", "fd00:100::21"), "lb-01": ("ens224", "fd00:100::10")}
ROUTERS6 = {"router": 1, "gw-01": 2, "gw-02": 3}
ROUTES6 = {"client": "fd00:203::1", "lb-01": "fd00:100::1", "web-01": "fd00:100::2", "web-02": "fd00:100::3"}
SETTINGS = ["--sysctl", "conn_reuse_mode=3"]
"""A port that a client uses again after FIN is a new connection, as to the real server."""
HTTP, IPERF, ECHO, SIGNALLING = 80, 5201, 7000, 5060
DOWNLOAD = 50 << 20
WEB_SERVER = """\
daemon off; user root; worker_processes 1; pid {place}/pid; error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; default_type text/plain; client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{ listen 80 backlog=4096; listen [::]:80 backlog=4096; root {place}; }}
}}
"""
ECHO_SERVER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind((sys.argv[1], int(sys.argv[2])))
    while True:
        data, client = server.recvfrom(65535)
        server.sendto(data, client)
"""


def service(address: str, port: int, transport: str, scheduler: str) -> str:
    """A virtual server whose real servers are always up."""
    servers = [name.replace("192.168.100.", "fd00:100::") if ":" in address else name for name in WEB]
    members = "".join(f"    real_server {server} {port} {{\n    }}\n" for server in servers)
    words = f"lb_algo {scheduler}\n    lb_kind DR\n    protocol {transport}"
    return f"virtual_server {address} {port} {{\n    {words}\n{members}}}\n"


CONF = f"""
vrrp_instance VI_1 {{
    interface ens224
    virtual_router_id 51
    priority 200
    virtual_ipaddress {{
        {VIP}/26 dev ens224
    }}
    virtual_ipaddress_excluded {{
        {VIP6}/128 dev ens224
    }}
}}
""" + "".join(
    service(*words)
    for words in (
        (VIP, HTTP, "TCP", "rr"), (VIP6, HTTP, "TCP", "rr"), (VIP, IPERF, "TCP", "sh"),
        (VIP, IPERF, "UDP", "sh"), (VIP, ECHO, "UDP", "rr"), (VIP, SIGNALLING, "SCTP", "rr"),
    )
)  # fmt: skip


def build(lab: Lab) -> None:
    for name, (interface, address) in HOSTS6.items():
        lab.node(name).run(["ip", "address", "add", f"{address}/64", "dev", interface, "nodad"])
    for name, number in ROUTERS6.items():
        for interface, prefix in (("ens192", "fd00:203::"), ("ens224", "fd00:100::")):
            lab.node(name).run(["ip", "address", "add", f"{prefix}{number}/64", "dev", interface, "nodad"])
        lab.node(name).sysctl("net.ipv6.conf.all.forwarding", "1")
    for name, gateway in ROUTES6.items():
        lab.node(name).run(["ip", "-6", "route", "add", "default", "via", gateway])
    lab.node("client").sysctl("net.ipv4.ip_local_port_range", "1024 65000")
    for name in WEB.values():
        serve(lab.node(name), lab.directory / f"{name}-real")
    configuration = lab.directory / "real.conf"
    configuration.write_text(CONF)
    services.start_director(lab.node("lb-01"), ["-f", str(configuration), *SETTINGS], lab.xdp_mode)


def serve(node: Node, place: Path) -> None:
    node.run(["pointsman", "realserver", "up", VIP, VIP6, "--interface", "ens224"])
    place.mkdir()
    (place / "index.html").write_text(f"{node.name}\n")
    with (place / "large").open("wb") as large:
        large.truncate(DOWNLOAD)
    (place / "conf").write_text(WEB_SERVER.format(place=place))
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert nginx is not None
    node.popen([nginx, "-e", f"{place}/error.log", "-c", f"{place}/conf"], log="nginx")
    node.popen(["iperf3", "--server", "--bind", VIP], log="iperf3")
    node.popen(["python3", "-c", ECHO_SERVER, VIP, str(ECHO)], log="echo")
    for port in (HTTP, IPERF):
        waiting.until(
            partial(services.listens, node, port, VIP), DEADLINE, f"{node.name} listens on port {port}"
        )


def page(client: Node, words: list[str]) -> str:
    return client.run(words, check=False).stdout


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("ha-pair", prefix=f"pmt-real-{os.getpid()}", programs=False) as made:
        build(made)
        client = made.node("client")
        for host in (VIP, f"[{VIP6}]"):
            words = ["curl", "--silent", "--fail", "--max-time", "1", f"http://{host}/"]
            waiting.until(partial(page, client, words), DEADLINE, f"{host} answers")
        yield made


def counted(lab: Lab, option: str, virtual: str) -> dict[str, dict[str, int]]:
    """The director's counters of a service's real servers, by their addresses."""
    listed = lab.node("lb-01").run(["pointsman", "ipvsadm", "-Ln", "--stats", "--exact", option, virtual])
    found = {}
    for line in listed.stdout.splitlines():
        if words := re.match(r"\s+-> \[?([^\]\s]+?)\]?:\d+ +(\d+) +(\d+) +\d+ +(\d+)", line):
            address, *numbers = words.groups()
            found[address] = dict(zip(("connections", "packets", "octets"), map(int, numbers), strict=True))
    assert len(found) == len(WEB), listed.stdout
    return found


def gained(
    lab: Lab, option: str, virtual: str, before: dict[str, dict[str, int]], what: str
) -> dict[str, int]:
    after = counted(lab, option, virtual)
    return {address: after[address][what] - before[address][what] for address in after}


def accepted(lab: Lab) -> dict[str, int]:
    """Return the number of connections that each real server has accepted, by its kernel's counters.

    The kernel counts a handshake twice if its ACK and the request are at work on two CPUs at the same time.
    """
    found = {}
    for address, name in WEB.items():
        lines = lab.node(name).run(["cat", "/proc/net/snmp"]).stdout.splitlines()
        names, numbers = (line.split() for line in lines if line.startswith("Tcp:"))
        found[address] = int(numbers[names.index("PassiveOpens")])
    return found


def wrk(lab: Lab, host: str, *words: str) -> int:
    """Return the number of requests with a correct reply in two seconds; every reply must be correct."""
    said = (
        lab.node("client")
        .run(["wrk", "-t1", "-c20", "-d2s", "--timeout", "30s", *words, f"http://{host}/"])
        .stdout
    )
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None, said
    return int(requests[1])


@pytest.mark.parametrize(("host", "virtual"), [(VIP, f"{VIP}:80"), (f"[{VIP6}]", f"[{VIP6}]:80")])
@pytest.mark.parametrize("lasting", [True, False])
def test_wrk_is_answered_and_both_sides_count_its_connections(
    lab: Lab, host: str, virtual: str, lasting: bool
) -> None:
    before, taken = counted(lab, "-t", virtual), accepted(lab)
    requests = wrk(lab, host, *([] if lasting else ["-H", "Connection: close"]))
    assert requests > 20
    connections = list(gained(lab, "-t", virtual, before, "connections").values())
    opened = [number - taken[address] for address, number in accepted(lab).items()]
    counted_twice = [theirs - ours for theirs, ours in zip(opened, connections, strict=True)]
    assert all(0 <= number <= 1 + requests // 1000 for number in counted_twice), (opened, connections)
    # One more than it uses is made by wrk to see whether anybody is there.
    assert sum(connections) == 21 if lasting else sum(connections) >= requests
    assert abs(connections[0] - connections[1]) <= 1  # rr


def download(lab: Lab, host: str, seconds: int = 60) -> int:
    words = ["--silent", "--max-time", str(seconds), "--output", "/dev/null", "-w", "%{size_download}"]
    return int(lab.node("client").run(["curl", *words, f"http://{host}/large"], timeout=seconds + 10).stdout)


@pytest.mark.parametrize(("host", "virtual"), [(VIP, f"{VIP}:80"), (f"[{VIP6}]", f"[{VIP6}]:80")])
def test_a_large_download_comes_whole_and_past_the_director(lab: Lab, host: str, virtual: str) -> None:
    before = counted(lab, "-t", virtual)
    assert download(lab, host) == DOWNLOAD
    assert 0 < sum(gained(lab, "-t", virtual, before, "octets").values()) < DOWNLOAD / 4


def iperf(lab: Lab, *words: str) -> dict[str, dict[str, float]]:
    """Return the end of the program's report."""
    said = lab.node("client").run(["iperf3", "--json", "--client", VIP, "--time", "2", *words], timeout=60)
    found: dict[str, dict[str, float]] = json.loads(said.stdout)["end"]
    return found


def test_iperf_sends_a_stream_through_the_director(lab: Lab) -> None:
    before = counted(lab, "-t", f"{VIP}:{IPERF}")
    arrived = int(iperf(lab)["sum_received"]["bytes"])
    through = gained(lab, "-t", f"{VIP}:{IPERF}", before, "octets")
    assert arrived > 1 << 20
    assert sorted(through.values())[0] == 0 and sum(through.values()) > arrived  # sh: one server


@pytest.mark.parametrize("length", [1000, 4000])
def test_iperf_sends_datagrams_whole_and_in_fragments(lab: Lab, length: int) -> None:
    """The server counts what was sent less what was lost; to the director each fragment is a packet."""
    before = counted(lab, "-u", f"{VIP}:{IPERF}")
    end = iperf(lab, "--udp", "--bitrate", "8M", "--length", str(length))["sum"]
    through = sum(gained(lab, "-u", f"{VIP}:{IPERF}", before, "packets").values())
    fragments = -(-(length + 8) // 1480)
    assert end["packets"] - end["lost_packets"] > 10
    assert through >= (end["packets"] - end["lost_packets"]) * fragments


@pytest.mark.parametrize("length", [1, 1472, 1473, 9000, 65507])
def test_a_datagram_of_any_length_is_answered_whole(lab: Lab, length: int) -> None:
    payload = os.urandom(length)
    before = counted(lab, "-u", f"{VIP}:{ECHO}")
    with lab.node("client").socket(kind=socket.SOCK_DGRAM) as caller:
        caller.settimeout(DEADLINE)
        caller.sendto(payload, (VIP, ECHO))
        assert caller.recvfrom(65535) == (payload, (VIP, ECHO))
    assert sum(gained(lab, "-u", f"{VIP}:{ECHO}", before, "connections").values()) == 1
    assert sum(gained(lab, "-u", f"{VIP}:{ECHO}", before, "packets").values()) == -(-(length + 8) // 1480)


@pytest.mark.parametrize(
    ("host", "virtual", "client"), [(VIP, VIP, CLIENT), (f"[{VIP6}]", VIP6, HOSTS6["client"][1])]
)
def test_a_narrow_path_to_the_client_is_told_to_the_real_server(
    lab: Lab, host: str, virtual: str, client: str
) -> None:
    """The gateways ask for smaller packets: the virtual address, that is the director, which passes it on."""
    gateways = [lab.node(name) for name in ("gw-01", "gw-02")]
    for gateway in gateways:
        gateway.run(["ip", "link", "set", "ens192", "mtu", "1400"])
    try:
        for _ in WEB:
            assert download(lab, host) == DOWNLOAD
        for name in WEB.values():
            route = lab.node(name).run(["ip", "route", "get", client, "from", virtual]).stdout
            assert "mtu 1400" in route, route
    finally:
        for gateway in gateways:
            gateway.run(["ip", "link", "set", "ens192", "mtu", "1500"])


def test_packets_of_sctp_reach_one_real_server(lab: Lab) -> None:
    """Use a raw socket in place of the kernel's SCTP, which many kernels lack."""
    init = struct.pack("!HHIIBBHIIHHI", 4000, SIGNALLING, 0, 0, 1, 0, 20, 7, 65536, 1, 1, 9)
    servers = [
        lab.node(name).socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_SCTP) for name in WEB.values()
    ]
    with lab.node("client").socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_SCTP) as client:
        for server in servers:
            server.settimeout(0.2)
        client.sendto(init, (VIP, 0))
        waiting.until(lambda: any(heard(server, init) for server in servers), DEADLINE, "INIT arrives")
    for server in servers:
        server.close()
    connections = lab.node("lb-01").run(["pointsman", "ipvsadm", "-Lcn"]).stdout
    assert re.search(rf"SCTP +\S+ +INIT1 +{CLIENT}:4000 +{VIP}:{SIGNALLING} ", connections), connections


def heard(server: socket.socket, expected: bytes) -> bool:
    try:
        return server.recv(2000)[20:] == expected
    except TimeoutError:
        return False
