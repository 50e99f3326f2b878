"""The XDP data plane: opens or adopts what is pinned, and carries out service tables on it."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pointsman.dataplane.interface import Attachment, Capabilities, DataPlaneError
from pointsman.dataplane.xdp import listing
from pointsman.dataplane.xdp.kernel import btf, layout, libbpf, pins
from pointsman.dataplane.xdp.kernel.attach import MODES, Links
from pointsman.dataplane.xdp.kernel.ingress import Ingress
from pointsman.dataplane.xdp.kernel.layout import LONGEST_TIMEOUT, WAYS, Vocabulary
from pointsman.dataplane.xdp.kernel.loader import Loaded, load
from pointsman.dataplane.xdp.kernel.local_macs import LocalMacs
from pointsman.dataplane.xdp.kernel.programs import Load, Programs
from pointsman.dataplane.xdp.server_lists import RefusedError
from pointsman.dataplane.xdp.store import Store
from pointsman.dataplane.xdp.tables import CONTROL, SPARE, Sizes, Tables, limits_of
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
from pointsman.model.service import ServerKey, ServiceKey, ServiceTable
from pointsman.model.traffic import Connection, Counters, PassiveCounters
from pointsman.model.tunables import TUNABLES

log = logging.getLogger("director")

HOOKS = frozenset({"direct_xdp", "direct_tc"})
TIMEOUTS = {
    "NONE": 3,
    "SYN_RECV": 60,
    "ESTABLISHED": 900,
    "FIN_WAIT": 120,
    "TIME_WAIT": 120,
    "CLOSE": 10,
    "UDP": 300,
    "SYNACK": 120,
    "SCTP_INIT1": 4,
    "SCTP_INIT": 61,
    "SCTP_COOKIE_ECHOED": 61,
    "SCTP_ESTABLISHED": 900,
    "SCTP_SHUTDOWN_RECEIVED": 61,
    "SCTP_CLOSED": 61,
}
"""Seconds, IPVS's defaults (ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c)."""


class XdpDataPlane:
    """DataPlane on BPF. One object at a time may write to a pin directory."""

    def __init__(
        self, loaded: Loaded, words: Vocabulary, directory: Path | None, fresh: bool, load: Load | None = None
    ) -> None:
        """Use the named constructors. `fresh`: the maps are new; `load`: for programs not there yet."""
        self.programs = Programs(loaded, load)
        self.tables = Tables(loaded.maps)
        self._words = words
        self._directory = directory
        self._ingress: Ingress | None = None
        self._found: tuple[Attachment, ...] = ()
        self._clock: Callable[[], float] = _seconds_since_boot
        self._states = {name: number for number, name in words.states.items()}
        if fresh:
            self.tables.control.seed = secrets.randbits(64) | 1
            for state, seconds in TIMEOUTS.items():
                self.tables.control.timeout[self._states[state]] = seconds
            self.tune({})
        self.store = Store(self.tables, words)

    @classmethod
    def open(
        cls,
        pin_directory: Path,
        interfaces: Sequence[str],
        mode: str = "auto",
        connection_limit: int = 1 << 20,
        connection6_limit: int | None = None,
        patient: bool = False,
    ) -> XdpDataPlane:
        """Attach the program to these interfaces, with the pinned tables if they fit.

        `mode` is auto, native, generic or tc. `connection_limit` and `connection6_limit`, of
        IPv6 (a quarter of the first if none is given), count for new tables only. `patient`: see `attach`.
        Raises DataPlaneError; then what was in force still is.
        """
        if mode not in MODES:
            raise DataPlaneError(errno.EINVAL, f"unknown XDP mode {mode}: use one of {', '.join(MODES)}")
        words, abi = _read_object()
        pins.ensure_bpf_file_system(pin_directory)
        sizes = Sizes.for_limit(connection_limit, connection6_limit)
        try:
            return cls._open(pin_directory, interfaces, mode, sizes, words, abi, patient)
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
        patient: bool,
    ) -> XdpDataPlane:
        pinned = pins.open_maps(directory, abi)
        try:
            _tell_of_tables(directory, pinned, sizes)
            hook = "direct_tc" if mode == "tc" else "direct_xdp"
            loaded = _load(sizes, pinned, frozenset({hook, "start_clock"}))
        finally:
            _close_all(pinned.values())
        plane = cls(loaded, words, directory, CONTROL not in pinned, partial(_load, sizes))
        if pinned:
            pins.pin_missing(directory, abi, loaded.maps)
        else:
            pins.pin_maps(directory, abi, loaded.maps)
        plane.start_clock()
        local_macs = LocalMacs(plane.tables.local_macs, plane.tables.descriptors["pm_virtual_macs"])
        plane._ingress = Ingress(plane.programs, local_macs, directory, mode)
        try:
            plane.attach(names, patient)
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
        """Return a data plane on no interface, whose clock stands at `now`, for tests and measurements.

        `loaded`: programs and empty maps that are there already, and the plane's from now on.
        """
        words, _ = _read_object()
        loaded = loaded or _load(sizes, {}, HOOKS | {"sweep_now"})
        plane = cls(loaded, words, None, fresh=True)
        plane.tables.control.now = now
        plane._clock = lambda: plane.tables.control.now + 0.5
        return plane

    @classmethod
    def open_readonly(cls, pin_directory: Path) -> XdpDataPlane:
        """Open the tables that an earlier director has pinned, for listing. Raises DataPlaneError."""
        words, abi = _read_object()
        pinned = pins.open_maps(pin_directory, abi)
        if not pinned:
            others = pins.map_directories(pin_directory)
            detail = "tables of another version of pointsman" if others else "nothing pinned"
            raise DataPlaneError(errno.ENOENT, f"no director's tables in {pin_directory}: {detail}")
        plane = cls(Loaded({}, pinned), words, None, fresh=False)
        plane._found = tuple(Links(pins.links_directory(pin_directory)).attachments())
        return plane

    @classmethod
    def remove(cls, pin_directory: Path) -> None:
        """Detach all links that are pinned there, and remove all pins, if there are any."""
        Links(pins.links_directory(pin_directory)).remove_all()
        pins.remove_all(pin_directory)

    def attach(self, names: Sequence[str], patient: bool = False) -> None:
        """Attach to exactly these interfaces. Where the program is attached already, no packet is lost.

        `patient`: on those that do not exist yet as soon as they do.
        Raises DataPlaneError; then it is still where it was.
        """
        assert self._ingress is not None
        self._ingress.attach(names, patient)

    def follow_interfaces(self) -> list[str]:
        """Attach to interfaces that have come, or come back, and follow their MAC addresses.

        Returns what is amiss; to be called now and then, in the network namespace of the interfaces.
        """
        if self._ingress is None:
            return []
        problems = self._ingress.follow(self.store.servers.hops.ways_out())
        return problems + _unseen(self.store.borne_marks(), self._ingress.attachments)

    def start_clock(self) -> None:
        """Start the kernel's timer: it ticks and sweeps from now on, with or without a director."""
        failure = libbpf.run_program(self.programs["start_clock"]).verdict
        if failure:
            raise DataPlaneError(errno.EIO, f"the kernel's BPF timer cannot be started (step {failure})")

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
            attachments=tuple(self._ingress.attachments) if self._ingress else self._found,
            interfaces=self._ingress.names if self._ingress else (),
            connection_limit=self.tables.connection_limit,
        )

    def read(self) -> ServiceTable:
        return self.store.table()

    def apply(self, operations: Sequence[Operation]) -> list[Refusal]:
        self.store.empty_trash()
        refusals = []
        for operation in operations:
            try:
                self._carry_out(operation)
            except RefusedError as refused:
                reason, *detail = refused.args
                refusals.append(Refusal(operation, reason, *detail))
            except OSError as error:
                refusals.append(Refusal(operation, "system", str(error)))
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

    def counters(self) -> Counters:
        return listing.counters(self.tables, self.store, self._words)

    def passive_counters(self) -> dict[tuple[ServiceKey, ServerKey], PassiveCounters]:
        return self.store.passive_counters()

    def connections(self) -> Iterable[Connection]:
        return listing.connections(self.tables, self.store, self._words, self._clock())

    def set_next_hops(self, hops: Iterable[NextHop]) -> None:
        """Set how real servers are reached, by address. Addresses that are left out keep their next hop.

        To be called in the network namespace the interfaces are in: indexes are looked up there.
        """
        self.store.servers.hops.tell(hops, self._announce)
        if self._ingress:
            self._ingress.follow_addresses()

    def _announce(self, hop: NextHop) -> bool:
        number = hop.index.to_bytes(4, "little")
        try:
            libbpf.map_update(self.tables.descriptors["pm_tx_devices"], number, number)
        except OSError:
            return False
        return True

    def set_virtual_macs(self, wanted: Collection[tuple[str, bytes]]) -> None:
        """Take frames to these, too. Before the first call an earlier director's count. Raises OSError."""
        if self._ingress:
            self._ingress.set_virtual_macs(wanted)

    def close(self, keep_forwarding: bool) -> None:
        if not keep_forwarding and self._directory is not None:
            self.remove(self._directory)
        self.tables.close()
        self.programs.close()


def _unseen(marks: Sequence[ServiceKey], attachments: Iterable[Attachment]) -> list[str]:
    """Return warnings about marks that no packet can have, because XDP comes before all that sets marks."""
    names = ", ".join(map(str, marks))
    return [
        f"{each.interface} has {each.mode} XDP, which comes before marks are set: "
        f"{names} gets nothing from there: use mode tc"
        for each in attachments
        if names and each.mode != "tc"
    ]


def _tell_of_tables(directory: Path, pinned: Mapping[str, int], sizes: Sizes) -> None:
    """Log what an operator would not expect of the tables in use."""
    if not pinned and pins.map_directories(directory):
        log.warning(
            "the tables in force are another version's: connections begin anew, and until "
            "the new ones are filled packets for the services are left to this host's own stack"
        )
    if "pm_connections" in pinned:
        held = libbpf.map_info(pinned["pm_connections"]).entries
        if held != sizes.entries()["pm_connections"]:
            log.warning(
                "--connections %d counts for new tables only: those in force have room for %d and are kept",
                sizes.connections,
                held * WAYS // SPARE,
            )


def _seconds_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _read_object() -> tuple[Vocabulary, str]:
    try:
        types = btf.TypeInformation(layout.OBJECT)
        return Vocabulary(types), layout.check(types)
    except FileNotFoundError as error:
        raise DataPlaneError(
            errno.ENOENT, f"the BPF object {layout.OBJECT} is missing: build it with `make -C bpf`"
        ) from error
    except ValueError as error:
        raise DataPlaneError(
            errno.EINVAL,
            f"the BPF object does not fit this pointsman ({error}): build it anew with `make -C bpf`",
        ) from error


def _load(sizes: Sizes, pinned: Mapping[str, int], programs: frozenset[str]) -> Loaded:
    entries = sizes.entries()
    entries.update({name: libbpf.map_info(fd).entries for name, fd in pinned.items() if name in entries})
    return load(layout.OBJECT, entries, limits_of(entries), pinned, programs)


def _close_all(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
