# SPDX-License-Identifier: Apache-2.0
"""Requirements of every supported kernel; test_kernels.py runs this file inside a guest.

It is as good on the host: `pytest tests/guest/inside.py`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import platform
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster import (
    CLIENT,
    KEY,
    PORT,
    SERVER,
    VIP,
    Cluster,
    connected,
    exchange,
    running_cluster,
)
from tests.support.golden_schedulers import CASES, HASHED_IN_SCOPE, replay
from tests.support.program_run import Director
from tests.support.until import DEADLINE

from pointsman.dataplane.interface import DataPlaneError
from pointsman.lab import namespace
from pointsman.model.operations import AddServer, AddService
from pointsman.model.service import ServiceKey, Transport, VirtualService

pytestmark = pytest.mark.root

TCX = (6, 6)
"""The kernel that brought the tc attachment we use."""
CHUNK, CHUNKS = 16 * 1024, 16


def cases() -> dict[str, dict[str, Any]]:
    """The first recorded case of each scheduler, and every one of IPv6."""
    known = [*CASES, *HASHED_IN_SCOPE]
    over_ipv6 = {case["name"]: case for case in known if "[" in case["virtual"]}
    return {case["scheduler"]: case for case in reversed(known)} | over_ipv6


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(Cluster()) as made:
        yield made


def test_real_servers_are_chosen_as_recorded() -> None:
    """The program passes this kernel's verifier and does by BPF_PROG_TEST_RUN what it does on ours.

    It is loaded once, since emulated verifiers are slow: between two cases everything is forgotten.
    """
    assert len(cases()) >= 11 + 5
    with Director() as director:
        for case in cases().values():
            replay(director, case)
            director.ipvsadm("-C")
            director.plane.tables.control.now += 100_000
            director.sweep()
            assert not list(director.plane.connections())


@pytest.mark.parametrize("mode", ["generic", "native", "tc"])
def test_a_connection_is_forwarded(cluster: Cluster, mode: str) -> None:
    """Both ends in namespaces: handshake, a quarter of a megabyte, an answer that goes past the director."""
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    if mode == "tc" and release < TCX:
        with pytest.raises(DataPlaneError, match=r"not tc: tcx needs Linux 6\.6") as caught:
            cluster.open(mode)
        assert caught.value.errno == errno.EOPNOTSUPP
        return
    if mode == "native":
        cluster.prepare_native()
    if mode == "generic":
        cluster.run(cluster.client, "ip link set c0 gso_max_segs 1")
    plane = cluster.start(mode)
    assert [item.mode for item in plane.capabilities().attachments] == [mode]
    with connected(cluster) as (caller, answerer):
        caller.settimeout(DEADLINE)
        exchange(caller, answerer, b"through the director and past it")
        for _ in range(CHUNKS):
            caller.sendall(bytes(CHUNK))
            received = 0
            while received < CHUNK:
                received += len(answerer.recv(CHUNK))
        assert [item.state for item in plane.connections()] == ["ESTABLISHED"]
    counted = plane.counters().of(KEY)
    assert counted.traffic.connections == 1
    assert counted.traffic.octets > CHUNK * CHUNKS
    plane.close(keep_forwarding=False)


def sctp_socket(name: str) -> socket.socket:
    """One-to-one, in a namespace."""
    with namespace.entered(name):
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)


def test_an_association_of_sctp_is_forwarded(cluster: Cluster) -> None:
    """The kernel's own SCTP at both ends: handshake, data both ways, shutdown."""
    key = ServiceKey.of(Transport.SCTP, ipaddress.ip_address(VIP), PORT)
    with contextlib.ExitStack() as stack:
        try:
            listener, caller = (
                stack.enter_context(sctp_socket(name)) for name in (cluster.server, cluster.client)
            )
        except OSError as error:
            pytest.skip(f"this kernel is built without SCTP: {error}")
        plane = cluster.start("generic")
        assert not plane.apply([AddService(VirtualService(key=key, scheduler="rr")), AddServer(key, SERVER)])
        hop = cluster.hop()
        with namespace.entered(cluster.director):
            plane.set_next_hops([hop])
        for end in (listener, caller):
            end.settimeout(DEADLINE)
        listener.bind((VIP, PORT))
        listener.listen()
        caller.bind((CLIENT, 0))
        caller.connect((VIP, PORT))
        answerer = stack.enter_context(listener.accept()[0])
        answerer.settimeout(DEADLINE)
        exchange(caller, answerer, b"chunks of data")
        assert [item.state for item in plane.connections()] == ["ESTABLISHED"]
        assert plane.counters().of(key).traffic.connections == 1
        plane.close(keep_forwarding=False)
