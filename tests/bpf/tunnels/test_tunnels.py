# SPDX-License-Identifier: Apache-2.0
"""TUN: what leaves for a real server behind a gateway, byte by byte, in XDP and in tc."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import pytest
from tests.bpf.tunnels.frames import (
    DIRECTOR,
    DIRECTOR6,
    FAR,
    FAR6,
    GRE,
    GUE,
    IPIP,
    far_hop,
    open_gre,
    open_gue,
    open_outer,
    passed_on,
    pseudo_header,
)
from tests.support.program_run import (
    DIRECTOR_MAC,
    ROUTER_MAC,
    SERVERS,
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Director,
    answer6_of,
    answer_of,
    checksum,
    framed,
    ipv4,
    segment,
    tcp,
    udp,
)

from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.model.service import Forwarding, Tunnel, TunnelChecksum, TunnelType

pytestmark = pytest.mark.root

CLIENT, CLIENT6 = "10.3.0.1", "fd00:3::1"
TC_SHOT, TC_REDIRECT, TC_UNSPEC = 2, 7, 0xFFFFFFFF
HOOKS = {"direct_xdp": XDP_TX, "direct_tc": TC_REDIRECT}
OPTIONS = {
    "ipip": "",
    "gue": "--tun-type gue --tun-port 6080",
    "gre": "--tun-type gre",
}


@pytest.fixture
def director() -> Iterator[Director]:
    with Director() as made:
        made.plane.set_next_hops([far_hop(FAR), far_hop(FAR6)])
        yield made


@pytest.fixture(params=list(HOOKS))
def hook(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def serve(director: Director, *options: str, server: str = FAR, six: bool = False) -> None:
    """One service with one real server in a tunnel, for TCP and for UDP."""
    place = f"[{VIP6}]" if six else VIP
    target = f"[{server}]:80" if ":" in server else f"{server}:80"
    for transport in ("-t", "-u"):
        director.ipvsadm(f"-A {transport} {place}:80 -s rr")
        director.ipvsadm(f"-a {transport} {place}:80 -r {target} -i {' '.join(options)}")


def sent(director: Director, hook: str, frame: bytes) -> bytes:
    result = libbpf.run_program(director.plane.programs[hook], frame)
    assert result.verdict == HOOKS[hook]
    return result.data


def with_tos(frame: bytes, tos: int) -> bytes:
    if frame[12:14] == b"\x86\xdd":
        return frame[:14] + struct.pack("!I", 6 << 28 | tos << 20) + frame[18:]
    header = frame[14:15] + bytes((tos,)) + frame[16:24] + b"\0\0" + frame[26:34]
    return frame[:14] + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + frame[34:]


def payload_of(kind: str, body: bytes, six: bool) -> bytes:
    """The inner packet, and that what leads to it says what it is."""
    if kind == "ipip":
        return body
    if kind == "gue":
        source, target, protocol, inner = open_gue(body)
        assert 32768 <= source < 60999 and target == 6080
        assert protocol == (41 if six else 4)
        return inner
    ether, summed, inner = open_gre(body)
    assert (ether, summed) == (0x86DD if six else 0x0800, False)
    return inner


@pytest.mark.parametrize("kind", list(OPTIONS))
@pytest.mark.parametrize("server", [FAR, FAR6])
@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_the_packet_travels_whole(director: Director, hook: str, kind: str, server: str, client: str) -> None:
    """Each family in each, each way of tunnelling: TTL and its checksum change inside, and nothing else."""
    six = ":" in client
    serve(director, OPTIONS[kind], server=server, six=six)
    for frame in (
        tcp("S", client, 4000, 80),
        tcp("PA", client, 4000, 80, ttl=2),
        udp(client, 4001, 80),
        with_tos(tcp("A", client, 4000, 80), 0xB9),
    ):
        outer, body = open_outer(sent(director, hook, frame))
        inner = passed_on(frame[14:])
        assert payload_of(kind, body, six) == inner
        direct = 41 if six else IPIP
        assert outer["protocol"] == {"ipip": direct, "gue": GUE, "gre": GRE}[kind]
        assert outer["source"] == (DIRECTOR6 if ":" in server else DIRECTOR)
        assert outer["target"] == server
        assert outer["ttl"] == (inner[7] if six else inner[8])
        assert outer["tos"] == (0xB9 if frame[15] == 0xB9 or frame[14] == 0x6B else 0)
    assert director.exits() == {}


def right(frame: bytes) -> bytes:
    """The frame, its TCP or UDP checksum filled in."""
    packet = frame[14:]
    six = packet[0] >> 4 == 6
    header = 40 if six else (packet[0] & 15) * 4
    protocol, body = packet[6 if six else 9], packet[header:]
    addresses = packet[8:40] if six else packet[12:20]
    place = 16 if protocol == 6 else 6
    pseudo = addresses + struct.pack("!IHBB", len(body), 0, 0, protocol)
    blank = body[:place] + b"\0\0" + body[place + 2 :]
    found = checksum(pseudo + blank + b"\0" * (len(blank) % 2)) or 0xFFFF
    return frame[: 14 + header] + body[:place] + struct.pack("!H", found) + body[place + 2 :]


def summed(client: str) -> list[bytes]:
    """Packets whose sum follows from their own, of even and odd lengths, and packets that have to be read."""
    ports = struct.pack("!HH", 4001, 80)
    found = [right(tcp("S", client, 4000, 80)), right(udp(client, 4001, 80)), udp(client, 4001, 80)]
    for size in (1, 900, 1241, 1301):
        found.append(right(framed(client, None, 6, segment("A", 4000, 80) + b"\xa5" * size)))
        found.append(framed(client, None, 17, ports + struct.pack("!HH", 8 + size, 0) + b"\x5a" * size))
    return found


@pytest.mark.parametrize(
    "kind", ["gue --tun-port 6080 --tun-csum", "gue --tun-port 6080 --tun-remcsum", "gre --tun-csum"]
)
@pytest.mark.parametrize("server", [FAR, FAR6])
@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_the_outer_checksum_holds(director: Director, hook: str, kind: str, server: str, client: str) -> None:
    serve(director, "--tun-type", kind, server=server, six=":" in client)
    for frame in summed(client):
        leaving = sent(director, hook, frame)
        body = open_outer(leaving).inner
        inner = open_gue(body, pseudo_header(leaving))[3] if "gue" in kind else open_gre(body)[2]
        assert inner == passed_on(frame[14:])
    assert director.exits() == {}


@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2), (0xB8 | 3, 0xB8 | 2)])
def test_congestion_inside_is_not_told_outside(director: Director, inner: int, outer: int) -> None:
    """INET_ECN_encapsulate(): CE becomes ECT(0), so that the tunnel's own congestion can be told from it."""
    serve(director)
    frame = with_tos(tcp("S", CLIENT, 4000, 80), inner)
    fields, body = open_outer(sent(director, "direct_xdp", frame))
    assert (fields["tos"], body[1]) == (outer, inner)


def test_dont_fragment_is_copied_and_decides_about_the_identification(director: Director) -> None:
    serve(director)
    frame = tcp("S", CLIENT, 4000, 80)
    outer, _ = open_outer(sent(director, "direct_xdp", frame))
    assert (outer["fragment"], outer["identification"]) == (0x4000, 0)
    free = with_tos(frame[:20] + b"\0\0" + frame[22:], 0)
    seen = set()
    for _ in range(4):
        outer, _ = open_outer(sent(director, "direct_xdp", free))
        assert outer["fragment"] == 0
        seen.add(outer["identification"])
    assert len(seen) > 1, "parts of two packets must not be put together"


def test_a_flow_keeps_its_source_port(director: Director) -> None:
    """Routers on the way spread flows by it."""
    serve(director, OPTIONS["gue"])

    def port(source_port: int, flags: str) -> int:
        return open_gue(open_outer(sent(director, "direct_xdp", tcp(flags, CLIENT, source_port, 80))).inner)[
            0
        ]

    assert port(4000, "S") == port(4000, "A")
    assert len({port(number, "S") for number in range(4000, 4020)}) > 15


def test_padding_of_a_short_frame_stays_outside(director: Director, hook: str) -> None:
    serve(director)
    frame = tcp("S", CLIENT, 4000, 80)
    assert open_outer(sent(director, hook, frame + b"\xee" * 6)).inner == passed_on(frame[14:])


def large(client: str, size: int) -> bytes:
    """A TCP segment in an IP packet of this size."""
    plain = tcp("A", client, 4000, 80)
    rest = b"x" * (size - len(plain) + 14)
    if ":" in client:
        return plain[:18] + struct.pack("!H", size - 40) + plain[20:] + rest
    return with_tos(plain[:16] + struct.pack("!H", size) + plain[18:] + rest, 0)


@pytest.mark.parametrize(
    ("options", "room"),
    [
        ("", 0),
        (OPTIONS["gue"], 12),
        (OPTIONS["gre"], 4),
        (OPTIONS["gre"] + " --tun-csum", 8),
        (OPTIONS["gue"] + " --tun-csum", 12),
    ],
)
@pytest.mark.parametrize(("server", "header"), [(FAR, 20), (FAR6, 40)])
@pytest.mark.parametrize("client", [CLIENT, CLIENT6])
def test_what_does_not_fit_is_answered_with_what_fits(
    director: Director, options: str, room: int, server: str, header: int, client: str
) -> None:
    six, mtu = ":" in client, 1500 - header - room
    serve(director, options, server=server, six=six)
    sent(director, "direct_xdp", tcp("S", client, 4000, 80))
    fitting = large(client, mtu)
    leaves = sent(director, "direct_xdp", fitting)
    assert len(leaves) == 1514
    assert leaves.endswith(passed_on(fitting[14:]))
    answer = sent(director, "direct_xdp", large(client, mtu + 1))
    assert answer[:12] == ROUTER_MAC + DIRECTOR_MAC
    if six:
        assert answer6_of(answer)[:3] == (2, 0, mtu)
    else:
        assert answer_of(answer)[:3] == (3, 4, mtu)
    assert director.exits() == {"too_big": 1}


def test_ipv6_in_less_than_its_least_mtu(director: Director) -> None:
    """IPVS forwards nothing then (docs/data-plane.md)."""
    director.plane.set_next_hops([far_hop(FAR6, mtu=1300)])
    serve(director, server=FAR6, six=True)
    sent(director, "direct_xdp", tcp("S", CLIENT6, 4000, 80))
    assert open_outer(sent(director, "direct_xdp", large(CLIENT6, 1260))).outer["target"] == FAR6
    assert answer6_of(sent(director, "direct_xdp", large(CLIENT6, 1261)))[:3] == (2, 0, 1260)


def test_the_last_hop_is_answered(director: Director) -> None:
    serve(director)
    answer = sent(director, "direct_xdp", tcp("S", CLIENT, 4000, 80, ttl=1))
    assert answer_of(answer)[:2] == (11, 0)


def test_without_the_gateways_mac_it_is_dropped_and_counted(director: Director, hook: str) -> None:
    serve(director, server="10.99.0.12")
    frame = tcp("S", CLIENT, 4000, 80)
    result = libbpf.run_program(director.plane.programs[hook], frame)
    assert (result.verdict, result.data) == ({"direct_xdp": XDP_DROP, "direct_tc": TC_SHOT}[hook], frame)
    assert director.exits() == {"no_neighbour": 1}


def test_beside_a_server_of_direct_routing(director: Director) -> None:
    """One service, both ways of forwarding; counted alike."""
    serve(director)
    director.ipvsadm(f"-a -t {VIP}:80 -r 192.168.100.11:80 -g")
    frames = [sent(director, "direct_xdp", tcp("S", CLIENT, 4000 + n, 80)) for n in range(4)]
    assert [len(frame) for frame in frames] == [54, 74, 54, 74]
    assert {frame[:6] for frame in frames[::2]} == {SERVERS["192.168.100.11"]}
    counted = director.plane.counters().services[0].servers
    assert [(item.active, item.traffic.packets, item.traffic.octets) for item in counted] == [(2, 2, 80)] * 2


def test_a_far_server_is_not_reached_by_direct_routing(director: Director) -> None:
    director.setup([f"-A -t {VIP}:80 -s rr", f"-a -t {VIP}:80 -r {FAR}:80 -g"])
    assert director.server_of(tcp("S", CLIENT, 4000, 80)) is None
    assert director.exits() == {"no_neighbour": 1}


def test_the_method_can_be_edited_under_way(director: Director) -> None:
    near = "192.168.100.11"
    director.plane.set_next_hops(
        [
            far_hop(FAR),
            far_hop(near),
        ]
    )
    serve(director)
    director.ipvsadm(f"-a -t {VIP}:80 -r {near}:80 -i")
    director.ipvsadm(f"-d -t {VIP}:80 -r {FAR}:80")
    first, later = tcp("S", CLIENT, 4000, 80), tcp("A", CLIENT, 4000, 80)
    assert open_outer(sent(director, "direct_xdp", first)).outer["protocol"] == IPIP
    director.ipvsadm(f"-e -t {VIP}:80 -r {near}:80 -i --tun-type gre --tun-csum")
    assert open_outer(sent(director, "direct_xdp", later)).outer["protocol"] == GRE
    director.resolve(SERVERS)
    director.ipvsadm(f"-e -t {VIP}:80 -r {near}:80 -g")
    plain = sent(director, "direct_xdp", later)
    assert plain[:6] == SERVERS[near] and plain[14:] == passed_on(later[14:])


def test_it_is_listed_and_saved_as_it_was_given(director: Director) -> None:
    serve(director, OPTIONS["gue"], "--tun-remcsum", server=FAR6)
    director.ipvsadm(f"-a -t {VIP}:80 -r {FAR}:80 -i --tun-type gre --tun-csum -w 3")
    table = director.plane.read()
    found = [(server.forwarding, server.tunnel) for server in table.entries[0].servers]
    assert found == [
        (Forwarding.TUNNEL, Tunnel(TunnelType.GUE, 6080, TunnelChecksum.REMOTE)),
        (Forwarding.TUNNEL, Tunnel(TunnelType.GRE, 0, TunnelChecksum.FULL)),
    ]
    assert "Tunnel  gue:6080:r+c  1" in director.ipvsadm("-Ln --tun-info")
    saved = director.ipvsadm("-Sn").splitlines()
    assert f"-a -t {VIP}:80 -r {FAR}:80 -i -w 3 --tun-type gre --tun-csum" in saved
    assert f"-a -t {VIP}:80 -r [{FAR6}]:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum" in saved


def test_errors_and_fragments_of_a_connection_go_the_same_way(director: Director, hook: str) -> None:
    serve(director)
    first = tcp("S", CLIENT, 4000, 80)
    sent(director, hook, first)
    quoted = first[14:26] + ipaddress.IPv4Address(VIP).packed + ipaddress.IPv4Address(CLIENT).packed
    quoted += segment("A", 80, 4000)[:8]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, 1300) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    error = DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + ipv4("10.9.9.9", VIP, 1, message)
    assert open_outer(sent(director, hook, error)).inner == passed_on(error[14:])
    parts = [
        DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + ipv4(CLIENT, VIP, 17, body, fragment=where)
        for where, body in ((0x2000, struct.pack("!HHHH", 4001, 80, 24, 0) + b"a" * 8), (2, b"b" * 8))
    ]
    for part in parts:
        outer, inner = open_outer(sent(director, hook, part))
        assert inner == passed_on(part[14:])
        assert outer["fragment"] == 0


def test_an_error_about_the_tunnels_own_packet_is_left_to_the_stack(director: Director, hook: str) -> None:
    """IPVS answers the client with it; here the host's route learns the MTU (docs/data-plane.md)."""
    serve(director)
    outer = sent(director, hook, tcp("S", CLIENT, 4000, 80))[14:]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, 1300) + outer[:48]
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    frame = DIRECTOR_MAC + ROUTER_MAC + b"\x08\x00" + ipv4("10.9.9.9", DIRECTOR, 1, message)
    result = libbpf.run_program(director.plane.programs[hook], frame)
    assert (result.verdict, result.data) == ({"direct_xdp": XDP_PASS, "direct_tc": TC_UNSPEC}[hook], frame)
