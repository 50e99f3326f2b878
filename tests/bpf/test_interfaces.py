# SPDX-License-Identifier: Apache-2.0
"""Interfaces that go, come back, change their MAC address, are taken or share a place of `local_macs`."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from tests.support.program_run import tcp
from tests.support.until import until

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import interfaces, libbpf, pins
from pointsman.dataplane.xdp.kernel.attach import Links
from pointsman.dataplane.xdp.kernel.layout import LOCAL_MACS
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.tables import Sizes
from pointsman.lab import namespace
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import AddServer, AddService, EditService
from pointsman.model.service import Front, RealServer, ServerKey, ServiceKey, Transport, VirtualService

pytestmark = pytest.mark.root

NAME = f"pmt-interfaces-{os.getpid()}"
PINS = Path(f"/sys/fs/bpf/{NAME}")
SMALL = Sizes(connections=1024, templates=64, services=64, dests=64, members=1024)
SERVICE = VirtualService(
    key=ServiceKey.of(Transport.TCP, ipaddress.ip_address("10.9.9.9"), 80), scheduler="rr"
)


@pytest.fixture(autouse=True)
def cables() -> Iterator[None]:
    """v0 and v1 in a namespace, each with its other end; the test runs in there."""
    namespace.create(NAME)
    try:
        with namespace.entered(NAME):
            for number in (0, 1):
                cable(f"v{number}")
            yield
    finally:
        XdpDataPlane.remove(PINS)
        namespace.delete(NAME)


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


def cable(name: str, options: str = "") -> None:
    run(f"ip link add {name} {options} type veth peer name p{name}")
    for end in (name, f"p{name}"):
        run(f"ip link set {end} up")


def modes() -> dict[str, str]:
    """Return the attached programs, as the kernel reports them."""
    return {item.interface: item.mode for item in Links(pins.links_directory(PINS)).attachments()}


def listed(plane: XdpDataPlane) -> dict[str, int]:
    return {item.interface: item.index for item in plane.capabilities().attachments}


def host(plane: XdpDataPlane, name: str) -> bytes:
    return int(plane.tables.local_macs[interfaces.index_of(name) % LOCAL_MACS]).to_bytes(8, "little")[:6]


def occupied(name: str) -> int:
    """Somebody else's XDP program on it; the link's descriptor."""
    other = XdpDataPlane.for_tests(SMALL)
    return libbpf.link_create(
        other.programs["direct_xdp"], interfaces.index_of(name), libbpf.ATTACH_XDP, 1 << 1
    )


def test_an_interface_that_comes_back_is_attached_again() -> None:
    plane = XdpDataPlane.open(PINS, ["v0", "v1"], "auto", 1024)
    assert plane.follow_interfaces() == []
    run("ip link delete v0")
    assert plane.follow_interfaces() == [
        "interface v0 is not there: no packets are taken from it until it is"
    ]
    assert list(listed(plane)) == ["v1"]
    assert plane.capabilities().interfaces == ("v0", "v1")
    cable("v0")
    assert plane.follow_interfaces() == []
    assert listed(plane) == {name: interfaces.index_of(name) for name in ("v0", "v1")}
    assert modes() == {"v0": "tc", "v1": "tc"}
    assert host(plane, "v0") == interfaces.hardware_address("v0")


def test_an_interface_with_another_name_is_still_served_and_told() -> None:
    plane = XdpDataPlane.open(PINS, ["v0", "v1"], "auto", 1024)
    for old, new in (("v0", "lan0"), ("lan0", "v0")):
        for command in (f"{old} down", f"{old} name {new}", f"{new} up"):
            run(f"ip link set {command}")
        problems = plane.follow_interfaces()
        assert listed(plane) == {name: interfaces.index_of(name) for name in (new, "v1")}
        assert modes() == {new: "tc", "v1": "tc"}
        assert host(plane, new) == interfaces.hardware_address(new)
        assert plane.capabilities().interfaces == ("v0", "v1")
        assert [text.split(":")[0] for text in problems] == (
            ["interface v0 is called lan0 now"] if new == "lan0" else []
        )


@pytest.mark.parametrize("mode", ["tc", "generic"])
def test_a_program_that_somebody_takes_off_is_put_back(mode: str) -> None:
    """`bpftool link detach`."""
    plane = XdpDataPlane.open(PINS, ["v0"], mode, 1024)
    (pin,) = Links(pins.links_directory(PINS)).list_pinned()
    link = libbpf.open_pinned(pin.path)
    libbpf.link_detach(link)
    os.close(link)
    assert modes() == {}
    assert plane.follow_interfaces() == []
    assert modes() == {"v0": mode}


def test_a_tc_program_of_others_that_runs_first_is_told() -> None:
    """One that returns TC_ACT_OK ends the chain: the director gets nothing, and the stack refuses clients."""

    def attach() -> int:
        program = XdpDataPlane.for_tests(SMALL).programs["direct_tc"]
        return libbpf.link_create(program, interfaces.index_of("v0"), libbpf.ATTACH_TCX_INGRESS, 0)

    before = attach()
    plane = XdpDataPlane.open(PINS, ["v0"], "tc", 1024)
    after = attach()
    (problem,) = plane.follow_interfaces()
    assert problem.startswith("v0 has other tc programs before the director's")
    os.close(before)
    assert plane.follow_interfaces() == []
    os.close(after)


def test_an_mtu_that_is_too_large_for_native_xdp_is_the_reason_that_is_told() -> None:
    for end in ("v0", "pv0"):
        run(f"ip link set {end} mtu 9000")
    with pytest.raises(DataPlaneError, match="not native: its driver takes no XDP with an MTU this large"):
        XdpDataPlane.open(PINS, ["v0"], "native", 1024)
    assert modes() == {}


def test_an_interface_without_ethernet_frames_is_told() -> None:
    run("ip tuntap add name t0 mode tun")
    run("ip link set t0 up")
    plane = XdpDataPlane.open(PINS, ["v0", "t0"], "tc", 1024)
    (problem,) = plane.follow_interfaces()
    assert problem.startswith("t0 has no Ethernet frames")


def test_one_that_comes_back_between_two_looks_is_attached_again() -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], "auto", 1024)
    run("ip link delete v0")
    cable("v0")
    assert plane.follow_interfaces() == []
    assert listed(plane) == {"v0": interfaces.index_of("v0")}
    assert modes() == {"v0": "tc"}


def test_one_that_comes_back_and_is_taken_is_a_problem_until_it_is_free() -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], "generic", 1024)
    run("ip link delete v0")
    cable("v0")
    foreign = occupied("v0")
    problems = plane.follow_interfaces()
    assert "another XDP program is attached to v0" in problems[0]
    assert listed(plane) == {}
    os.close(foreign)
    assert plane.follow_interfaces() == []
    assert modes() == {"v0": "generic"}


def test_a_new_mac_address_is_followed() -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], "auto", 1024)
    run("ip link set v0 address 02:00:00:00:00:77")
    assert plane.follow_interfaces() == []
    assert host(plane, "v0") == bytes.fromhex("020000000077")


def test_a_refused_start_leaves_nothing() -> None:
    foreign = occupied("v1")
    with pytest.raises(DataPlaneError, match="another XDP program is attached to v1"):
        XdpDataPlane.open(PINS, ["v0", "v1"], "generic", 1024)
    assert modes() == {}
    assert not PINS.exists()
    os.close(foreign)


def test_the_folder_of_all_directors_goes_with_the_last() -> None:
    above = PINS
    planes = [XdpDataPlane.open(above / name, [name], "tc", 1024) for name in ("v0", "v1")]
    planes[0].close(keep_forwarding=False)
    assert [path.name for path in above.iterdir()] == ["v1"]
    planes[1].close(keep_forwarding=True)
    XdpDataPlane.remove(above / "v1")
    assert not PINS.exists()
    foreign = occupied("v1")
    with pytest.raises(DataPlaneError, match="another XDP program"):
        XdpDataPlane.open(above / "v1", ["v1"], "generic", 1024)
    assert not PINS.exists()
    os.close(foreign)


def test_a_director_that_starts_while_the_last_one_ends_has_its_folder() -> None:
    """Two processes create and remove the parent folder a thousand times at once."""

    def starts_and_ends(name: str) -> int:
        for _ in range(1000):
            pins.make_directory(PINS / name / "links")
            assert (PINS / name / "links").is_dir()
            pins.remove_all(PINS / name)
        return 1000

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(starts_and_ends, ["a", "b", "c"])) == [1000] * 3
    assert not PINS.exists()


@pytest.mark.parametrize("first", ["tc", "native"])
def test_a_refused_change_of_mode_leaves_what_was(first: str) -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], first, 1024)
    assert not plane.apply([AddService(SERVICE)])
    addresses = list(plane.tables.local_macs)
    plane.close(keep_forwarding=True)
    foreign = occupied("v1")
    with pytest.raises(DataPlaneError, match="another XDP program is attached to v1"):
        XdpDataPlane.open(PINS, ["v0", "v1"], "generic", 1024)
    assert modes() == {"v0": first}
    again = XdpDataPlane.open_readonly(PINS)
    assert [entry.service for entry in again.read()] == [SERVICE]
    assert list(again.tables.local_macs) == addresses
    os.close(foreign)
    plane = XdpDataPlane.open(PINS, ["v0", "v1"], "generic", 1024)
    assert modes() == {"v0": "generic", "v1": "generic"}
    assert len(list(pins.links_directory(PINS).iterdir())) == 2


@pytest.mark.parametrize("mode", ["tc", "generic"])
def test_frames_of_a_vlan_are_left_to_its_interface(mode: str) -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], mode, 1024)
    server = RealServer(key=ServerKey(ipaddress.ip_address("10.9.9.1"), 80))
    assert not plane.apply([AddService(SERVICE), AddServer(SERVICE.key, server)])
    frame = tcp("S", "10.9.9.2", 1000, 80, target="10.9.9.9")
    head, rest = interfaces.hardware_address("v0") + frame[6:12], frame[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("pv0", 0))
        sender.send(head + bytes.fromhex("81000064") + rest)
        until("the frame is counted", lambda: "not_ip" in plane.counters().exits)
        assert plane.counters().services[0].traffic.connections == 0
        sender.send(head + rest)
        until("the connection is counted", lambda: plane.counters().services[0].traffic.connections == 1)


@pytest.mark.parametrize("mode", ["tc", "generic"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_priority_tag_is_taken_off(mode: str, version: int) -> None:
    """Cisco UCS and some hypervisors send such frames (802.1Q, VLAN 0). IPVS serves them."""
    vip, near, far = (
        ipaddress.ip_address(text[version == 6])
        for text in (("10.9.9.9", "fd09::9"), ("10.9.9.1", "fd09::1"), ("10.9.9.2", "fd09::2"))
    )
    service = VirtualService(key=ServiceKey.of(Transport.TCP, vip, 80), scheduler="rr")
    plane = XdpDataPlane.open(PINS, ["v0"], mode, 1024)
    own, server = interfaces.hardware_address("v0"), bytes.fromhex("020000000099")
    plane.set_next_hops([NextHop(near, interfaces.index_of("v0"), own, server)])
    assert not plane.apply([AddService(service), AddServer(service.key, RealServer(key=ServerKey(near, 80)))])
    frame = tcp("S", str(far), 1000, 80, target=str(vip))
    head, rest = own + frame[6:12], frame[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as outside:
        outside.bind(("pv0", 0))
        outside.settimeout(5)

        def next_to(mac: bytes) -> bytes:
            while (found := outside.recv(2000))[:6] != mac:
                pass
            return found

        for priority in (b"\x00", b"\xa0"):
            outside.send(head + b"\x81\x00" + priority + b"\x00" + rest)
            left = next_to(server)
            assert (left[6:12], left[12:14], left[34:]) == (own, frame[12:14], frame[34:])
    assert plane.counters().services[0].traffic.connections == 1


@pytest.mark.parametrize("mode", ["tc", "generic"])
def test_frames_to_a_virtual_mac_are_for_us_as_long_as_we_are_master(mode: str) -> None:
    plane = XdpDataPlane.open(PINS, ["v0", "v1"], mode, 1024)
    server = RealServer(key=ServerKey(ipaddress.ip_address("10.9.9.1"), 80))
    assert not plane.apply([AddService(SERVICE), AddServer(SERVICE.key, server)])
    virtual, other = bytes.fromhex("00005e000133"), bytes.fromhex("00005e000134")
    frame = tcp("S", "10.9.9.2", 1000, 80, target="10.9.9.9")

    def other_hosts(mac: bytes) -> int:
        """Return how many more frames count as addressed to another host."""
        before = plane.counters().exits
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("pv0", 0))
            sender.send(mac + frame[6:])
        until("a frame is counted", lambda: sum(plane.counters().exits.values()) > sum(before.values()))
        return plane.counters().exits.get("other_host", 0) - before.get("other_host", 0)

    assert other_hosts(virtual) == 1
    plane.set_virtual_macs({("v0", virtual), ("v0", other), ("gone", virtual)})
    assert (other_hosts(virtual), other_hosts(other)) == (0, 0)
    plane.set_virtual_macs({("v1", virtual)})
    assert (other_hosts(virtual), other_hosts(other)) == (1, 1)

    plane.set_virtual_macs({("v0", virtual)})
    plane.close(keep_forwarding=True)
    plane = XdpDataPlane.open(PINS, ["v0"], mode, 1024)
    assert other_hosts(virtual) == 0, "the next director knows nothing yet"
    plane.set_virtual_macs(())
    assert other_hosts(virtual) == 1


def test_interfaces_that_share_a_place_take_any_unicast_frame() -> None:
    for name, index in (("a0", 2007), ("b0", 2007 + LOCAL_MACS)):
        cable(name, f"index {index}")
    plane = XdpDataPlane.open(PINS, ["a0", "b0"], "tc", 1024)
    assert plane.tables.local_macs[2007 % LOCAL_MACS] == 0
    plane.attach(["b0"])
    assert host(plane, "b0") == interfaces.hardware_address("b0")


def test_packets_that_bear_a_mark_come_by_tc() -> None:
    """One that the socket has set; on a cable within a namespace it stays with the packet."""
    plane = XdpDataPlane.open(PINS, ["v0"], "tc", 1024)
    marked = VirtualService(key=ServiceKey.mark(7), scheduler="rr")
    address = ipaddress.ip_address("10.9.9.1")
    assert not plane.apply(
        [AddService(marked), AddServer(marked.key, RealServer(key=ServerKey(address, 80)))]
    )
    out, server = interfaces.index_of("v1"), bytes.fromhex("020000000011")
    plane.set_next_hops([NextHop(address, out, interfaces.hardware_address("v1"), server)])
    frame = tcp("S", "10.9.9.2", 1000, 80, target="10.9.9.9")
    frame = interfaces.hardware_address("v0") + frame[6:]
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as receiver,
    ):
        sender.bind(("pv0", 0))
        receiver.bind(("pv1", 0x0800))
        receiver.settimeout(30)
        sender.send(frame)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        sender.send(frame)
        arrived = receiver.recv(2000)
    assert (arrived[:6], arrived[26:]) == (server, frame[26:])
    assert plane.counters().of(marked.key).traffic.connections == 1
    assert plane.counters().exits["no_service"] == 1
    assert [str(item.virtual) for item in plane.connections()] == ["10.9.9.9"]
    assert plane.follow_interfaces() == []


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_marks_that_xdp_does_not_see_are_told_of(mode: str) -> None:
    plane = XdpDataPlane.open(PINS, ["v0"], mode, 1024)
    marked = VirtualService(key=ServiceKey.mark(7), scheduler="rr")
    assert not plane.apply([AddService(SERVICE), AddService(marked)])
    assert plane.follow_interfaces() == [
        f"v0 has {mode} XDP, which comes before marks are set: FWM 7 gets nothing from there: use mode tc"
    ]
    front = Front(Transport.TCP, ipaddress.ip_address("10.9.9.9"), 81)
    assert not plane.apply([EditService(msgspec.structs.replace(marked, fronts=frozenset({front})))])
    assert plane.follow_interfaces() == []
