# SPDX-License-Identifier: Apache-2.0
"""A lab: one topology that is up or down as a whole.

    with Lab("ha-pair", prefix="pmt-mine-1") as lab:
        lab.node("client").run(["curl", "-s", "http://192.168.100.9/"])

If a part cannot be built, nothing stays. The end of the block removes everything: processes, pins, files,
namespaces.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from pointsman.lab import interrupts, namespace, network, offload, processes, services, waiting
from pointsman.lab import node as nodes
from pointsman.lab.errors import LabError
from pointsman.lab.node import Node
from pointsman.lab.topologies import dual_homed, ha_pair, two_box
from pointsman.lab.topologies.topology import Role, Topology
from pointsman.model.decoding import InvalidDataError, decoding

TOPOLOGIES: dict[str, Topology] = {
    topology.name: topology for topology in (ha_pair.TOPOLOGY, dual_homed.TOPOLOGY, two_box.TOPOLOGY)
}
PREFIX = "pm"
"""Prefix of the namespaces' names: `pm-lb-01`. Tests use other prefixes, so that a user's lab can run
beside."""
CONFIGURATIONS = {ha_pair.TOPOLOGY.name: ha_pair.configuration, two_box.TOPOLOGY.name: two_box.configuration}
"""Configuration by topology, a function of the director's name. Other directors run without a file."""
XDP_MODES = ("auto", "native", "generic", "tc")

_DIRECTORY = nodes.RUN_DIRECTORY / "lab"
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MASTER_SECONDS = 60.0
_STOP_SECONDS = 10.0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """State of a running lab on disk, for later commands."""

    topology: str
    prefix: str
    xdp_mode: str
    inodes: dict[str, int]
    """Namespace inodes by node. They identify the files and pins of the lab."""


class Lab:
    """A topology with its nodes.

    With `directors=False` no `pointsman run` is started (something else can take its place). With
    `programs=False` no program is started: the lab has only hosts and cables. `progress` is called with
    the text of each step. All methods raise LabError.
    """

    def __init__(
        self,
        topology: str,
        *,
        prefix: str = PREFIX,
        xdp_mode: str = "auto",
        directors: bool = True,
        programs: bool = True,
        progress: Callable[[str], None] = lambda _text: None,
    ) -> None:
        if topology not in TOPOLOGIES:
            raise LabError(f"no topology {topology!r}; choose from: {', '.join(TOPOLOGIES)}")
        if xdp_mode not in XDP_MODES:
            raise LabError(f"no XDP mode {xdp_mode!r}; choose from: {', '.join(XDP_MODES)}")
        self.topology = TOPOLOGIES[topology]
        self.prefix = check_prefix(prefix)
        self.xdp_mode = xdp_mode
        self.directory = _directory(topology, prefix)
        self._directors = directors and programs
        self._programs = programs
        self.claimed = False
        """True if this object has built the lab (or started to), and so may remove it."""
        self._progress = progress
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.nodes = {spec.name: Node(spec, prefix, self.directory / "logs") for spec in self.topology.nodes}

    def node(self, name: str) -> Node:
        if name not in self.nodes:
            raise LabError(f"no node {name!r} in {self.topology.name}; choose from: {', '.join(self.nodes)}")
        return self.nodes[name]

    @property
    def command(self) -> str:
        """Command line prefix that selects this lab."""
        return "pointsman lab" if self.prefix == PREFIX else f"pointsman lab --prefix {self.prefix}"

    @property
    def mail_directory(self) -> Path:
        """Directory with the mails of the lab's mail server."""
        return self.directory / "mails"

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Build and start everything. If anything fails or Ctrl-C is pressed, nothing stays."""
        try:
            with interrupts.uninterrupted():
                self._claim()
                self.claimed = True
            self._build()
        except BaseException as error:
            if self.claimed:
                self.down()
            if isinstance(error, (OSError, LookupError)):
                raise LabError(f"{self.topology.name} cannot be built: {error}") from error
            raise

    def down(self) -> None:
        """Remove everything, also the rest of an earlier lab of this name. Idempotent.

        Namespaces of another topology with the same prefix stay.
        """
        with interrupts.uninterrupted():
            inodes = _inodes(self.directory)
            foreign = _inodes(*(_directory(name, self.prefix) for name in self._others()))
            living = [
                node
                for node in self.nodes.values()
                if namespace.exists(node.namespace) and node.inode not in foreign
            ]
            inodes |= {node.inode for node in living}
            stopped = processes.kill(inodes)
            for node in self.nodes.values():
                node.reap()
            for inode in inodes:
                nodes.forget(inode)
            for node in living:
                namespace.delete(node.namespace)
            shutil.rmtree(self.directory, ignore_errors=True)
            self.claimed = False
            for parent in (_DIRECTORY, nodes.RUN_DIRECTORY, nodes.PIN_DIRECTORY):
                with contextlib.suppress(OSError):
                    parent.rmdir()  # only if no other lab uses it
            if not stopped:
                raise LabError(f"these processes do not end: {processes.find_processes(inodes)}")

    def start_web_server(self, name: str) -> None:
        """Start nginx on a web server of ha-pair."""
        services.start_nginx(self.node(name), self.directory / name)

    def start_director(self, name: str, *options: str) -> None:
        """Start `pointsman run` on a director, as the topology configures it."""
        node = self.node(name)
        text = CONFIGURATIONS.get(self.topology.name)
        if text is not None:
            configuration = self.directory / f"{name}.conf"
            configuration.write_text(text(name))
            arguments = ["-f", str(configuration)]
        else:
            arguments = [word for card in node.spec.interfaces for word in ("--interface", card.name)]
        self._progress(f"{name}: pointsman run {' '.join(arguments)}")
        self._running[name] = services.start_director(node, [*arguments, *options], self.xdp_mode)

    def director_pid(self, name: str) -> int:
        """Return the process id of the `pointsman run` that this object has started."""
        return self._running[name].pid

    def stop_director(self, name: str) -> None:
        """Stop a director that this object has started, with SIGTERM."""
        child = self._running.pop(name)
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{name}: the director did not stop within {_STOP_SECONDS:g} s") from error

    def masters(self) -> list[str]:
        """Return the directors that have the VIP on an Ethernet interface. On lo it is for a real server."""
        held = f"{self.topology.vip}/"
        return [
            spec.name
            for spec in self.topology.with_role(Role.DIRECTOR)
            for card in spec.interfaces
            if any(address.startswith(held) for address in self.node(spec.name).addresses(card.name))
        ]

    def wait_for_master(self, name: str, seconds: float = _MASTER_SECONDS) -> None:
        """Wait until this director, and no other, has the VIP."""
        try:
            what = f"only {name} has {self.topology.vip}"
            waiting.until(lambda: self.masters() == [name], seconds, what)
        except LabError as error:
            tail = services.log_tail(self.node(name), "director")
            raise LabError(f"{error} (it is on: {self.masters() or 'none'}); {tail}") from error

    def require_free(self) -> None:
        """Raise LabError if the lab cannot be built: without root, or if a lab is up with this prefix."""
        if os.geteuid() != 0:
            raise LabError("the lab creates network namespaces, which needs root; run it with sudo")
        taken = [node.namespace for node in self.nodes.values() if namespace.exists(node.namespace)]
        if taken:
            raise LabError(
                f"a lab is already up (namespace {taken[0]} exists); remove it first: {self.command} down"
            )

    def missing(self) -> list[str]:
        """Return the namespaces of the lab that do not exist. All of them if it is not up."""
        return [node.namespace for node in self.nodes.values() if not namespace.exists(node.namespace)]

    def _others(self) -> list[str]:
        return [name for name in TOPOLOGIES if name != self.topology.name]

    def _claim(self) -> None:
        self.require_free()
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.directory.mkdir()
        except FileExistsError:
            raise LabError(
                f"{self.topology.name} is being built, or its build was interrupted "
                f"({self.directory} exists); remove it: {self.command} down {self.topology.name}"
            ) from None

    def _build(self) -> None:
        self._progress(f"{len(self.nodes)} namespaces and their cables")
        self._write_state({})
        network.build(self.topology, self.prefix)
        self._write_state({name: node.inode for name, node in self.nodes.items()})
        if self.xdp_mode == "native":
            self._prepare_native()
        if self._programs:
            _START[self.topology.name](self)

    def _write_state(self, inodes: dict[str, int]) -> None:
        state = State(topology=self.topology.name, prefix=self.prefix, xdp_mode=self.xdp_mode, inodes=inodes)
        partial = self.directory / "state.json.part"
        partial.write_bytes(msgspec.json.encode(state))
        partial.rename(self.directory / "state.json")

    def _prepare_native(self) -> None:
        """Prepare the interfaces for native XDP (see offload)."""
        for node in self.topology.nodes:
            for card in node.interfaces:
                offload.complete_checksums(self.node(node.name).namespace, card.name)
                if node.role is Role.DIRECTOR:
                    partner = self.node(self.topology.segment(card.segment).node)
                    offload.accept_frames(partner.namespace, node.port(card))
        for segment in self.topology.segments:
            if segment.addresses:
                offload.complete_checksums(self.node(segment.node).namespace, segment.name)


def _start_ha_pair(lab: Lab) -> None:
    lab._progress("mail: SMTP on port 25")
    services.start_mail(lab.node("mail"), ha_pair.MAIL_ADDRESS, lab.mail_directory)
    for name in ha_pair.WEB_SERVERS:
        lab._progress(f"{name}: pointsman realserver up {ha_pair.VIP}; nginx on 80 and 443")
        lab.start_web_server(name)
        if lab._directors:
            services.set_up_real_server(lab.node(name), ha_pair.VIP, ["ens224"])
    if lab._directors:
        lab.start_director("lb-01")
        lab.wait_for_master("lb-01")
        lab.start_director("lb-02")


def _start_dual_homed(lab: Lab) -> None:
    server, director = lab.node("server"), lab.node("lvs")
    lab._progress(f"server: python3 -m http.server {dual_homed.PORT}")
    services.start_http_server(server, dual_homed.PORT, lab.directory / "server")
    if not lab._directors:
        return
    lab._progress(f"server: pointsman realserver up {dual_homed.VIP}")
    services.set_up_real_server(server, dual_homed.VIP, ["eth14", "eth12"])
    lab.start_director("lvs")
    service = f"{dual_homed.VIP}:{dual_homed.PORT}"
    for words in (
        f"-A -t {service} -s rr",
        f"-a -t {service} -r {dual_homed.REAL_SERVER}:{dual_homed.PORT} -g",
    ):
        lab._progress(f"lvs: pointsman ipvsadm {words}")
        director.run(["pointsman", "ipvsadm", *words.split()])


def _start_two_box(lab: Lab) -> None:
    for name in two_box.BOXES:
        lab._progress(f"{name}: python3 -m http.server {two_box.PORT}")
        services.start_http_server(lab.node(name), two_box.PORT, lab.directory / name)
        if lab._directors:
            lab._progress(f"{name}: pointsman realserver up {two_box.VIP}")
            services.set_up_real_server(lab.node(name), two_box.VIP, ["eth0"])
    if lab._directors:
        lab.start_director("box-01")
        lab.wait_for_master("box-01")
        lab.start_director("box-02")


_START: dict[str, Callable[[Lab], None]] = {
    "ha-pair": _start_ha_pair,
    "dual-homed": _start_dual_homed,
    "two-box": _start_two_box,
}


def running_labs(prefix: str = PREFIX) -> Iterator[Lab]:
    """Yield the labs that are up (or partly up) with this prefix."""
    for name in TOPOLOGIES:
        state = _read_state(_directory(name, prefix))
        if state is not None:
            yield Lab(name, prefix=prefix, xdp_mode=state.xdp_mode)


def explain_no_lab(prefix: str = PREFIX) -> str:
    """Return a message for a user whose prefix has no lab."""
    states = [_read_state(path) for path in sorted(_DIRECTORY.glob("*"))]
    elsewhere = [
        f"{state.topology} is up with --prefix {state.prefix}"
        for state in states
        if state is not None and state.prefix != prefix
    ]
    hint = "; ".join(elsewhere) or "start one: pointsman lab up " + " | ".join(TOPOLOGIES)
    return f"no lab is up{f' with --prefix {prefix}' if elsewhere else ''}; {hint}"


def check_prefix(prefix: str) -> str:
    """Return the prefix if it is valid in names of namespaces and files. Raises LabError."""
    if not _PREFIX.fullmatch(prefix):
        raise LabError(
            f"{prefix!r} is not a valid prefix: use at most 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or a digit"
        )
    return prefix


def _directory(topology: str, prefix: str) -> Path:
    return _DIRECTORY / (topology if prefix == PREFIX else f"{topology}@{prefix}")


def _inodes(*directories: Path) -> set[int]:
    states = [_read_state(directory) for directory in directories]
    return {inode for state in states if state is not None for inode in state.inodes.values()}


def _read_state(directory: Path) -> State | None:
    try:
        with decoding():
            return msgspec.json.decode((directory / "state.json").read_bytes(), type=State)
    except (OSError, InvalidDataError):
        return None
