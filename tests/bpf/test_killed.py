# SPDX-License-Identifier: Apache-2.0
"""A director killed at any write of any operation: the next one, and the packets, see one table."""

from __future__ import annotations

import ctypes
import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.program_run import NAMES, VIP, Director

from pointsman.dataplane.xdp import frontends, servers, slots, store
from pointsman.dataplane.xdp.kernel import libbpf
from pointsman.dataplane.xdp.kernel.flags import ServiceFlag
from pointsman.dataplane.xdp.kernel.layout import LIST_HEAD
from pointsman.dataplane.xdp.kernel.record_layout import DestName
from pointsman.dataplane.xdp.server_list_format import ListWord, elements
from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import Sizes, Tables, nonzero
from pointsman.lvs.reconcile import reconcile
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
)
from pointsman.model.service import (
    RealServer,
    ServerKey,
    ServiceKey,
    ServiceTable,
    Transport,
    VirtualService,
)

pytestmark = pytest.mark.root

KEY = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 80)
OTHER = ServiceKey.of(Transport.TCP, ipaddress.ip_address(VIP), 81)


def server(name: str, weight: int = 1, upper: int = 0, lower: int = 0) -> RealServer:
    key = ServerKey(ipaddress.ip_address(NAMES[name]), 80)
    return RealServer(key=key, weight=weight, upper_threshold=upper, lower_threshold=lower)


def service(scheduler: str, *flags: str, persistence: int | None = None) -> VirtualService:
    return VirtualService(key=KEY, scheduler=scheduler, flags=frozenset(flags), persistence=persistence)


CASES: dict[str, tuple[VirtualService, *tuple[Operation, ...]]] = {
    "weight": (service("wlc"), EditServer(KEY, server("rs1", 0))),
    "wrr weight": (service("wrr"), EditServer(KEY, server("rs1", 6, 9, 3))),
    "mh weight": (service("mh"), EditServer(KEY, server("rs1", 0))),
    "scheduler": (service("rr"), EditService(service("mh", "mh-port", "mh-fallback"))),
    "scheduler of the same numbers": (service("sh", "sh-port"), EditService(service("mh", "sh-port"))),
    "flags": (service("sh", "sh-port"), EditService(service("sh", "sh-fallback"))),
    "persistence": (service("wrr"), EditService(service("wrr", persistence=60))),
    "delete server": (service("rr"), DeleteServer(KEY, server("rs1").key)),
    "add server": (service("wrr"), AddServer(KEY, server("rs3", 4))),
    "many servers": (
        service("wrr"),
        AddServer(KEY, server("rs3", 4)),
        EditServer(KEY, server("rs1", 8, 9, 3)),
        DeleteServer(KEY, server("rs2").key),
        EditServer(KEY, server("rs3", 6)),
    ),
    "delete service": (service("rr"), DeleteService(KEY)),
    "add service": (service("rr"), AddService(VirtualService(key=OTHER, scheduler="wlc"))),
}


class KilledError(BaseException):
    pass


class Fuse:
    """Burns at the write after the next `left`."""

    def __init__(self) -> None:
        self.left = 1 << 30

    def burn(self) -> None:
        if not self.left:
            raise KilledError
        self.left -= 1


class Fused:
    """An array or struct of the tables; each write to it goes over the fuse."""

    def __init__(self, target: Any, fuse: Fuse) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_fuse", fuse)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._fuse.burn()
        setattr(self._target, name, value)

    def __len__(self) -> int:
        return len(self._target)

    def __getitem__(self, key: Any) -> Any:
        found = self._target[key]
        return found if isinstance(found, int | list) else Fused(found, self._fuse)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._fuse.burn()
        self._target[key] = value


ARRAYS = ("fronts", "services", "dests", "loads", "members", "dest_origins", "service_origins", "control")


def fused(director: Director, fuse: Fuse) -> Store:
    """A store over the same tables, whose writes go over the fuse."""
    tables = director.plane.tables

    class Wires:
        def __getattr__(self, name: str) -> Any:
            found = getattr(tables, name)
            return Fused(found, fuse) if name in ARRAYS else found

    def nonzero_of(structs: Any, field: str) -> list[int]:
        return nonzero(getattr(structs, "_target", structs), field)

    with pytest.MonkeyPatch.context() as patch:
        for module in (frontends, servers, store):
            patch.setattr(module, "nonzero", nonzero_of)
        return Store(Wires(), director.plane._words)  # type: ignore[arg-type]


def in_force(director: Director) -> list[tuple[int, list[int], int]]:
    """Return what the packet path reads of each service: servers with weights, and hash options."""
    tables, found = director.plane.tables, []
    for _, entry in director.plane.store.entries():
        list_word = ListWord.of(tables.services[entry.service].list)
        start = list_word.first + LIST_HEAD
        flags = tables.services[entry.service].flags & (ServiceFlag.HASH_PORT | ServiceFlag.HASH_FALLBACK)
        found.append((list_word.scheduler, tables.members[start : start + list_word.length], flags))
    return found


def told(director: Director) -> list[tuple[int, list[int], int]]:
    """Return the same from the table as it is listed."""
    found, words = [], director.plane._words
    for (_, entry), listed in zip(director.plane.store.entries(), director.plane.read(), strict=True):
        name, flags = listed.service.scheduler, listed.service.flags
        places = director.plane.store.lists.places(entry.service)
        assert [place.weight for place in reversed(places)] == [item.weight for item in listed.servers]
        hashing = ServiceFlag.HASH_PORT if slots.hashes_port(name, flags) else 0
        hashing |= ServiceFlag.HASH_FALLBACK if slots.falls_back(name, flags) else 0
        members = elements(places, name == "wrr", 0)[LIST_HEAD:]
        found.append((words.schedulers[name], members, hashing))
    return found


def as_read(director: Director) -> ServiceTable:
    """Return the table as a process reads it that is not the director."""
    tables = Tables(director.plane.tables.descriptors, for_reading=True)
    return Store(tables, director.plane._words).table()


def contents(director: Director) -> dict[str, bytes | list[bytes]]:
    """Return what the maps contain that a director writes."""
    tables = director.plane.tables
    arrays = {name: bytes(getattr(tables, name)) for name in (*ARRAYS, "blocks", "front_names", "remotes")}
    names, marks = tables.descriptors["pm_dest_names"], tables.descriptors["pm_marks"]
    return arrays | {
        "names": libbpf.map_keys(names, ctypes.sizeof(DestName)),
        "marks": libbpf.map_keys(marks, 8),
    }


def step_of(changed: Store, operation: Operation) -> Callable[[], None]:
    match operation:
        case AddService(service=added):
            return lambda: changed.add_service(added)
        case EditService(service=edited):
            return lambda: changed.edit_service(edited)
        case DeleteService(key=key):
            return lambda: changed.delete_service(key)
        case AddServer(service=key, server=new):
            return lambda: changed.add_server(key, new)
        case EditServer(service=key, server=new):
            return lambda: changed.edit_server(key, new)
        case DeleteServer(service=key, server=old):
            return lambda: changed.delete_server(key, old)
    raise AssertionError(operation)


@pytest.mark.parametrize("case", CASES)
def test_packets_table_and_reconcile_agree_whenever_the_director_was_killed(case: str) -> None:
    before, *operations = CASES[case]
    with Director() as director:
        plane = director.plane
        given: list[Operation] = [
            AddService(before),
            AddServer(KEY, server("rs1", 2)),
            AddServer(KEY, server("rs2", 4)),
        ]
        plane.apply(given)
        start = plane.read()
        assert not plane.apply(operations)
        wanted = plane.read()
        assert wanted != start
        killed = 0
        while True:
            plane.apply([Flush(), *given])
            assert plane.read() == start
            fuse = Fuse()
            changed = fused(director, fuse)
            steps = [*(step_of(changed, operation) for operation in operations), changed.commit]
            fuse.left = killed
            try:
                for step in steps:
                    step()
            except KilledError:
                killed += 1
            else:
                break
            left, read = contents(director), as_read(director)
            assert contents(director) == left, "a reader changes nothing"
            plane.store = Store(plane.tables, plane._words)
            assert read == plane.read(), killed
            assert in_force(director) == told(director), killed
            assert not plane.apply(reconcile(wanted, plane.read())), killed
            assert plane.read() == wanted
            assert in_force(director) == told(director), killed
            plane.store = Store(plane.tables, plane._words)
        assert killed > 3


def test_an_edit_that_finds_no_room_for_the_list_changes_nothing() -> None:
    with Director(Sizes(connections=64, templates=8, services=16, dests=64, members=8)) as director:
        plane = director.plane
        filler = AddService(VirtualService(key=OTHER, scheduler="rr"))
        given: list[Operation] = [
            AddService(service("wlc")),
            AddServer(KEY, server("rs1")),
            AddServer(KEY, server("rs2")),
        ]
        assert not plane.apply([*given, filler, AddServer(OTHER, server("rs1"))])
        before = plane.read()
        for operation in (
            AddServer(OTHER, server("rs5")),
            EditServer(KEY, server("rs1", 7)),
            EditService(service("mh")),
            AddServer(OTHER, server("rs5")),
        ):
            assert [item.reason for item in plane.apply([operation])] == ["full"]
            assert plane.read() == before
        assert in_force(director) == told(director)
