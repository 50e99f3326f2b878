# SPDX-License-Identifier: Apache-2.0
"""The XDP data plane: load the programs, create or reuse the pinned maps, and apply operations to them."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pointsman.dataplane.interface import Attachment, Capabilities, DataPlaneError, TakeCounts
from pointsman.dataplane.xdp import counters, listing
from pointsman.dataplane.xdp.kernel import layout, libbpf, pins
from pointsman.dataplane.xdp.kernel.abi import read_object
from pointsman.dataplane.xdp.kernel.attach import MODES, Links
from pointsman.dataplane.xdp.kernel.ingress import Ingress
from pointsman.dataplane.xdp.kernel.layout import LONGEST_TIMEOUT, Vocabulary
from pointsman.dataplane.xdp.kernel.loader import Loaded, load
from pointsman.dataplane.xdp.kernel.local_macs import LocalMacs
from pointsman.dataplane.xdp.kernel.programs import Load, Programs
from pointsman.dataplane.xdp.records.exchange import GIVE, TAKE, KernelExchange, Lane
from pointsman.dataplane.xdp.records.predecessor import Predecessor, TakeOver
from pointsman.dataplane.xdp.server_lists import RefusedError
from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import CONTROL, TIMEOUTS, Sizes, Tables, limits_of
from pointsman.dataplane.xdp.traffic_blocks import TrafficWatch
from pointsman.dataplane.xdp.unattended import Unattended
from pointsman.dataplane.xdp.warnings import warn_of_marks
from pointsman.model.next_hop import NextHop
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
    Refusal,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import ServerKey, ServiceEntry, ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters, PassiveCounters, ServiceCounters, Unanswered
from pointsman.model.tunables import TUNABLES

log = logging.getLogger("director")

HOOKS = frozenset({"direct_xdp", "direct_tc"})


class XdpDataPlane:
    """A DataPlane on BPF maps. Only one object at a time may write to a pin directory."""

    def __init__(
        self, loaded: Loaded, words: Vocabulary, directory: Path | None, fresh: bool, load: Load | None = None
    ) -> None:
        """Use `open`, `open_readonly` or `for_tests` instead.

        `fresh`: the maps are new. `load` loads programs that are needed later. Without any it is for reading.
        """
        self.programs = Programs(loaded, load)
        self.tables = Tables(loaded.maps, for_reading=not loaded.programs)
        self._words = words
        self._directory = directory
        self._ingress: Ingress | None = None
        self._pinned: tuple[Attachment, ...] = ()
        self._clock: Callable[[], float] = _seconds_since_boot
        self._states = {name: number for number, name in words.states.items()}
        if fresh:
            self.tables.control.seed = secrets.randbits(64) | 1
            for state, seconds in TIMEOUTS.items():
                self.tables.control.timeout[self._states[state]] = seconds
            self.tune({})
        self.store = Store(self.tables, words)
        self._watch = TrafficWatch(self.tables)
        self._take_over: TakeOver | None = None
        self.exchange = KernelExchange(loaded.maps, self.programs, words.take_results, Lane.DIRECTOR)
        self.unattended = Unattended(self.tables, self.store)
        self.is_fresh = fresh

    @classmethod
    def open(
        cls,
        pin_directory: Path,
        interfaces: Sequence[str],
        mode: str = "auto",
        connection_limit: int = 1 << 20,
        connection6_limit: int | None = None,
        allow_missing: bool = False,
    ) -> XdpDataPlane:
        """Attach the program to these interfaces. Pinned tables are reused if their ABI and sizes fit.

        Others go on forwarding until `take_over`. `mode` is auto, native, generic or tc. `connection_limit`
        and `connection6_limit` (IPv6): sizes of the tables; the second is by default a quarter of the first.
        `allow_missing`: see `attach`.
        Raises DataPlaneError; then nothing has changed.
        """
        if mode not in MODES:
            raise DataPlaneError(errno.EINVAL, f"unknown XDP mode {mode}: use one of {', '.join(MODES)}")
        words, abi = read_object()
        pins.ensure_bpf_file_system(pin_directory)
        sizes = Sizes.for_limit(connection_limit, connection6_limit)
        try:
            return cls._open(pin_directory, interfaces, mode, sizes, words, abi, allow_missing)
        except PermissionError as error:
            raise DataPlaneError(
                error.errno or errno.EPERM,
                f"{error.strerror}: run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
            ) from error

    @classmethod
    def _open(
        cls,
        directory: Path,
        names: Sequence[str],
        mode: str,
        sizes: Sizes,
        words: Vocabulary,
        abi: str,
        allow_missing: bool,
    ) -> XdpDataPlane:
        predecessor = Predecessor.find(directory, abi, sizes.entries())
        pinned = {} if predecessor else pins.open_maps(directory, abi)
        try:
            hook = "direct_tc" if mode == "tc" else "direct_xdp"
            loaded = _load_with_exchange(sizes, pinned, frozenset({hook, "start_clock"}))
        finally:
            _close_all(pinned.values())
        plane = cls(loaded, words, directory, CONTROL not in pinned, partial(_load, sizes))
        for_records = {name: fd for name, fd in loaded.programs.items() if name in (GIVE, TAKE)}
        if pinned:
            pins.renew(directory, abi, loaded.maps, for_records)
        else:
            pins.prepare(directory, abi, loaded.maps, for_records)
        plane.start_clock()
        local_macs = LocalMacs(plane.tables.local_macs, plane.tables.descriptors["pm_virtual_macs"])
        plane._ingress = Ingress(plane.programs, local_macs, directory, mode)
        if predecessor:
            plane._ingress.adopt(names)
            plane._prepare_take_over(predecessor, abi, lambda: plane.attach(names, allow_missing))
            return plane
        if not pinned:
            pins.put_in_force(directory, abi)
        try:
            plane.attach(names, allow_missing)
        except OSError:
            plane.close(keep_forwarding=True)
            if not pinned:
                pins.remove_maps(directory, abi)
            raise
        pins.remove_other_maps(directory, abi)
        return plane

    @classmethod
    def for_tests(
        cls,
        sizes: Sizes = Sizes(),  # noqa: B008
        now: int = 1000,
        loaded: Loaded | None = None,
    ) -> XdpDataPlane:
        """Return a data plane on no interface, for tests and measurements. Its clock stands at `now`.

        `loaded`: programs and empty maps to use; the data plane closes them.
        """
        words, _ = read_object()
        loaded = loaded or _load(sizes, {}, HOOKS | {"sweep_now", GIVE, TAKE})
        plane = cls(loaded, words, None, fresh=True)
        plane.tables.control.now = now
        plane._clock = lambda: plane.tables.control.now + 0.5
        return plane

    @classmethod
    def open_readonly(cls, pin_directory: Path) -> XdpDataPlane:
        """Open the tables that a director has pinned, for reading only. Raises DataPlaneError."""
        words, abi = read_object()
        pinned = pins.open_maps(pin_directory, abi)
        if not pinned:
            others = pins.map_directories(pin_directory)
            detail = "tables of another version of pointsman" if others else "nothing pinned"
            raise DataPlaneError(errno.ENOENT, f"no director's tables in {pin_directory}: {detail}")
        plane = cls(Loaded({}, pinned), words, None, fresh=False)
        plane._pinned = tuple(Links(pins.links_directory(pin_directory)).attachments())
        return plane

    @classmethod
    def remove(cls, pin_directory: Path) -> None:
        """Detach all links that are pinned in this directory, and remove all pins."""
        Links(pins.links_directory(pin_directory)).remove_all()
        pins.remove_all(pin_directory)

    def attach(self, names: Sequence[str], allow_missing: bool = False) -> None:
        """Attach to exactly these interfaces. Where the program is attached already, no packet is lost.

        `allow_missing`: interfaces that do not exist yet are no error; `follow_interfaces` attaches later.
        Raises DataPlaneError; then nothing has changed.
        """
        assert self._ingress is not None
        self._ingress.attach(names, allow_missing)

    def follow_interfaces(self) -> list[str]:
        """Attach to interfaces that have appeared, and follow their MAC addresses. Return the problems.

        Call it periodically, in the network namespace of the interfaces.
        """
        if self._ingress is None:
            return []
        egress = self.store.servers.hops.egress_indexes()
        problems = self._ingress.follow(egress, self.exits().get("too_big", 0))
        return problems + warn_of_marks(self.store.marks_without_addresses(), self._ingress.attachments)

    def start_clock(self) -> None:
        """Start the BPF timer that advances the clock and sweeps the tables, also without a director."""
        failure = libbpf.run_program(self.programs["start_clock"]).verdict
        if failure:
            raise DataPlaneError(errno.EIO, f"the kernel's BPF timer cannot be started (step {failure})")

    def _prepare_take_over(self, predecessor: Predecessor, abi: str, attach: Callable[[], None]) -> None:
        """Begin with the services of tables of another size; those of another version cannot be read."""
        predecessor.copy_virtual_macs(self.tables.descriptors["pm_virtual_macs"])
        if predecessor.is_of(abi):
            earlier = XdpDataPlane(Loaded({}, predecessor.copies()), self._words, None, fresh=False)
            self.tables.control.timeout[:] = list(earlier.tables.control.timeout)
            for entry in earlier.read():
                adding = [AddServer(entry.service.key, server) for server in entry.servers]
                self.apply([AddService(entry.service), *adding])
            if kept := earlier.unattended.kept():
                self.unattended.keep(kept, earlier.unattended.seconds_left())
            earlier.close(keep_forwarding=True)
        self._take_over = TakeOver(predecessor, self.exchange, abi, attach)

    def take_over(self) -> TakeCounts | None:
        if self._take_over is None or self._directory is None:
            return None
        counts = self._take_over.run(self._directory)
        self._take_over = None
        return counts

    def tune(self, settings: Mapping[str, int]) -> None:
        """Apply these settings of model.tunables at once, and the defaults of all others."""
        for name, tunable in TUNABLES.items():
            setattr(self.tables.control, name, settings.get(name, tunable.default))

    # DataPlane

    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="xdp",
            schedulers=frozenset(self._words.schedulers),
            forwarding=frozenset({"Route", "Tunnel"}),
            attachments=tuple(self._ingress.attachments) if self._ingress else self._pinned,
            interfaces=self._ingress.names if self._ingress else (),
            connection_limit=self.tables.connection_limit,
        )

    def read(self) -> ServiceTable:
        return self.store.table()

    def entry(self, key: ServiceKey) -> ServiceEntry | None:
        return self.store.entry(key)

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        """Apply operations. Successive ones on real servers make one new list for each service."""
        self.store.begin()
        refusals = []
        for operation in operations:
            try:
                if not isinstance(operation, AddServer | EditServer | DeleteServer):
                    self.store.commit()
                self._carry_out(operation)
            except RefusedError as refused:
                reason, *detail = refused.args
                refusals.append(Refusal(operation, reason, *detail))
            except OSError as error:
                refusals.append(Refusal(operation, "system", str(error)))
        self.store.commit()
        return refusals

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case AddService(service=service):
                self.store.add_service(service)
            case EditService(service=service):
                self.store.edit_service(service)
            case DeleteService(key=key):
                self.store.delete_service(key)
            case AddServer(service=key, server=server):
                self.store.add_server(key, server)
            case EditServer(service=key, server=server):
                self.store.edit_server(key, server)
            case DeleteServer(service=key, server=server_key):
                self.store.delete_server(key, server_key)
            case Flush():
                for key, _ in self.store.entries():
                    self.store.delete_service(key)
            case ZeroCounters(key=zeroed):
                self.store.zero_counters(zeroed)
            case SetTimeouts():
                self._set_timeouts(operation)

    def _set_timeouts(self, operation: SetTimeouts) -> None:
        wanted = {"ESTABLISHED": operation.tcp, "FIN_WAIT": operation.tcp_fin, "UDP": operation.udp}
        for state, seconds in wanted.items():
            if seconds:
                self.tables.control.timeout[self._states[state]] = min(seconds, LONGEST_TIMEOUT)

    def timeouts(self) -> tuple[int, int, int]:
        timeout = self.tables.control.timeout
        tcp, tcp_fin, udp = (timeout[self._states[state]] for state in ("ESTABLISHED", "FIN_WAIT", "UDP"))
        return int(tcp), int(tcp_fin), int(udp)

    def exits(self) -> dict[str, int]:
        counts = zip(self._words.exits, self.tables.exits(), strict=False)
        return {name: count for name, count in counts if count}

    def service_counters(self) -> Iterator[ServiceCounters]:
        return counters.service_counters(self.tables, self.store)

    def changed_counters(self) -> Iterator[Sequence[ServiceCounters]]:
        return counters.changed_counters(self.tables, self.store, self._watch)

    def connection_counts(self, key: ServiceKey) -> Mapping[ServerKey, tuple[int, int]]:
        return self.store.connection_counts(key)

    def counters_of(self, key: ServiceKey) -> ServiceCounters | None:
        return counters.counters_of(self.tables, self.store, key)

    def counters(self) -> Counters:
        return Counters(tuple(self.service_counters()), self.exits())

    def passive_counters(self) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        return self.store.passive_counters()

    def unanswered(self) -> dict[tuple[ServiceKey, ServerKey], Unanswered]:
        return self.store.unanswered()

    def connections(self) -> Iterable[Connection]:
        return listing.connections(self.tables, self.store, self._words, self._clock())

    def set_next_hops(self, hops: Iterable[NextHop]) -> None:
        """Set the next hops of real servers, by address. Other addresses keep their next hop.

        Call it in the network namespace of the interfaces: their indexes are looked up there.
        """
        self.store.servers.hops.update(hops, self._register_device)
        if self._ingress:
            self._ingress.follow_addresses()

    def _register_device(self, hop: NextHop) -> bool:
        number = hop.index.to_bytes(4, "little")
        try:
            libbpf.map_update(self.tables.descriptors["pm_tx_devices"], number, number)
        except OSError:
            return False
        return True

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to exactly these further MAC addresses, by interface. Raises OSError.

        Until the first call the addresses of an earlier director stay in force.
        """
        if self._ingress:
            self._ingress.set_virtual_macs(wanted)

    def close(self, keep_forwarding: bool) -> None:
        if not keep_forwarding and self._directory is not None:
            self.remove(self._directory)
        self.tables.close()
        self.programs.close()


def _seconds_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _load(sizes: Sizes, pinned: Mapping[str, int], programs: frozenset[str]) -> Loaded:
    entries = sizes.entries()
    entries.update({name: libbpf.map_info(fd).entries for name, fd in pinned.items() if name in entries})
    return load(layout.OBJECT, entries, limits_of(entries), pinned, programs)


def _load_with_exchange(sizes: Sizes, pinned: Mapping[str, int], programs: frozenset[str]) -> Loaded:
    """Load these programs, and those for records, which kernels before Linux 6.1 refuse."""
    try:
        return _load(sizes, pinned, programs | {GIVE, TAKE})
    except DataPlaneError as error:
        loaded = _load(sizes, pinned, programs)
        log.warning("connections cannot be given to other versions or directors: %s", error.strerror)
        return loaded


def _close_all(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
