"""The director process: the data plane and everything that decides what is in it.

It hears the checker (verdicts), vrrp (states), the kernel (neighbours) and clients (control socket), and does
all of its work in one asyncio loop, because none of it is long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from pointsman.control import messages
from pointsman.control.paths import control_socket, run_directory
from pointsman.control.server import ControlServer
from pointsman.control.status import Status
from pointsman.daemon.director import status as status_report
from pointsman.daemon.director.mail import MailQueue
from pointsman.daemon.director.passive_check import PassiveCheck
from pointsman.daemon.director.reload import CannotReloadError, Reload, Survey
from pointsman.daemon.director.state_file import DirectorState, StateFile
from pointsman.daemon.director.table_sync import TableSync, foreign_services
from pointsman.daemon.director.vrrp_states import VrrpStates
from pointsman.daemon.runtime.channels import Channels, Inbox
from pointsman.daemon.runtime.config_history import ConfigHistory, for_bfd, for_checker, for_scripts, for_vrrp
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.dataplane.interface import DataPlane
from pointsman.health.alerts import Alert
from pointsman.lvs.estimator import PERIOD, Estimator
from pointsman.model.address import Address
from pointsman.model.next_hop import NextHop
from pointsman.model.service import Forwarding, ServiceTable
from pointsman.model.traffic import Connection
from pointsman.net.addresses import addresses
from pointsman.net.neighbours import NeighbourWatcher
from pointsman.net.netlink import NetlinkSocket

log = logging.getLogger("director")

TICK = 1.0
"""Seconds between signs of life, refreshes of neighbours and retries of what was refused."""
MOST_AT_ONCE = 1024
"""Reports of one process that are read before anything else is done."""
MOST_LISTED = 10_000
"""Connections in an answer: listing them takes 10 us each, and nothing else is done meanwhile."""


class Director:
    """The configuration in force on one data plane."""

    def __init__(
        self,
        generations: ConfigHistory,
        plane: DataPlane,
        keep_forwarding: bool,
        survey: Survey,
        origin: dict[str, str | None],
    ) -> None:
        self._config = generations.current
        self._plane = plane
        self._keep_forwarding = keep_forwarding
        self._memory = StateFile(run_directory())
        remembered = self._memory.read() or DirectorState()
        if remembered.boot:
            log.info("going on where the director before this one ended")
        self._keeper = TableSync(self._config, plane, remembered.keeper if remembered.boot else None)
        self._origin = origin
        self._reloader = Reload(generations, self._keeper, plane, survey)
        self._watcher = NeighbourWatcher()
        self._hops: dict[str, NextHop] = {}
        self._states = VrrpStates(self._config, remembered.instances)
        self._sessions: dict[str, messages.SessionChanged] = {}
        """Of BFD, by name."""
        self._started = time.monotonic()
        self._mail: MailQueue | None = None
        self._channels: Channels | None = None
        self._settling = False
        self._interface_problems: list[str] = []
        self._once = LogOnce(log)
        self._estimator = Estimator()
        self._watchman = PassiveCheck(plane)

    async def run(self, channels: Channels, ready: socket.socket) -> int:
        """Work until SIGTERM; always 0. `ready` gets Alive when the table is in force and then each tick."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._mail = MailQueue(self._config.mail)
        self._mail.start()
        self._channels = channels
        self._reloader.audience = (
            (channels.vrrp, for_vrrp),
            (channels.checker, for_checker),
            (channels.scripts, for_scripts),
            (channels.bfd, for_bfd),
            (ready, lambda config: config),
        )
        inboxes = (
            Inbox(channels.vrrp, messages.vrrp_report_decoder, "VRRP process", log),
            Inbox(channels.checker, messages.result_decoder, "checker", log),
            Inbox(channels.scripts, messages.result_decoder, "process that runs programs", log),
            Inbox(channels.bfd, messages.session_decoder, "BFD process", log),
        )
        self._stand()
        self._settle()
        control = ControlServer(control_socket(), self._answer)
        await control.start()
        loop.add_reader(self._watcher.fileno(), self._follow_neighbours)
        for channel in channels.all():
            channel.setblocking(False)
        for inbox in inboxes:
            loop.add_reader(inbox.channel, self._hear, inbox)
            with contextlib.suppress(OSError):
                inbox.channel.send(messages.encode(messages.Resync()))
        self._estimate()
        ready.setblocking(False)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                ready.send(messages.encode(messages.Alive()))
            self._tick(channels)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK)
        for inbox in inboxes:
            loop.remove_reader(inbox.channel)
            self._hear(inbox)
        await asyncio.sleep(0)  # what they said last is carried out; nobody comes or goes after the farewell
        await control.close()
        if not self._keep_forwarding:
            for alert in self._keeper.farewell():
                self._send(alert)
            self._run_programs()
        await self._mail.close()
        self._leave()
        return 0

    def _leave(self) -> None:
        """As keepalived and IPVS do at a stop: our services go, those put in by hand stay in force."""
        if not self._keep_forwarding:
            self._keeper.withdraw()
            self._memory.forget()
        foreign = foreign_services(self._plane, self._keeper.managed)
        keep = self._keep_forwarding or bool(foreign)
        if keep and not self._keep_forwarding:
            log.info(
                "services put in by hand stay in force: %s; to take them out too: pointsman detach",
                ", ".join(map(str, foreign)),
            )
        self._plane.close(keep_forwarding=keep)
        self._watcher.close()

    def _tick(self, channels: Channels) -> None:
        self._follow_neighbours()
        self._follow_interfaces()
        self._watchman.look(time.monotonic(), self._config, channels)
        self._reloader.tell()
        self._run_programs()
        if self._keeper.expire(time.monotonic()) or self._keeper.unsettled:
            self._settle()

    def _estimate(self) -> None:
        """Keep the rates that `ipvsadm -L --rate` shows."""
        asyncio.get_running_loop().call_later(PERIOD, self._estimate)
        self._estimator.update(self._plane.counters())

    def _follow_neighbours(self) -> None:
        """Take in what changed, and ask for whoever is due to be asked: at once after a loss."""
        self._apply_hops(self._watcher.refresh(time.monotonic()))

    def _follow_interfaces(self) -> None:
        try:
            problems = self._plane.follow_interfaces()
        except OSError as error:
            problems = [f"the interfaces cannot be followed: {error}"]
        for problem in problems:
            self._once.error(problem, "%s", problem)
        self._once.keep_only(problems)
        self._interface_problems = problems

    def _hear(self, inbox: Inbox[messages.Report]) -> None:
        """Take in everything that a process has to say."""
        for _ in range(MOST_AT_ONCE):
            match inbox.receive():
                case messages.CheckResult() as result:
                    self._send(self._keeper.take(result))
                    self._settle_soon()
                case messages.GroupChanged() as group:
                    self._send(self._states.take_group(group))
                case messages.SessionChanged() as session:
                    self._sessions[session.session] = session
                case messages.InstanceChanged() as instance:
                    self._instance_changed(instance)
                    self._take_virtual_macs()
                    self._stand()
                    self._settle_soon()
                case None:
                    break
        if inbox.closed:
            asyncio.get_running_loop().remove_reader(inbox.channel)

    def _instance_changed(self, report: messages.InstanceChanged) -> None:
        before = self._states.told.get(report.instance)
        alert = self._states.take(report, time.monotonic())
        if self._states.told.get(report.instance) != before:
            self._remember()
        self._send(alert)

    def _stand(self) -> None:
        """Tell the keeper which addresses are this host's own, and which of VRRP's it holds."""
        if not (self._config.instances and self._config.virtual_servers):
            return
        try:
            with NetlinkSocket() as netlink:
                own = frozenset(found.address for found in addresses(netlink))
        except OSError as error:
            log.error("this host's addresses cannot be read: %s", error)
            return
        moving = {entry.address for instance in self._config.instances for entry in instance.moving_addresses}
        self._keeper.stand(own - moving, self._states.holding())

    def _take_virtual_macs(self) -> None:
        """Packets to the MAC address of a virtual router are ours as long as its addresses are here."""
        try:
            self._plane.set_virtual_macs(self._states.virtual_macs())
        except OSError as error:
            log.error("the data plane does not take packets to virtual MAC addresses: %s", error)

    def _send(self, alert: Alert | None) -> None:
        if alert is not None and self._mail is not None:
            self._mail.put(alert)

    def _settle_soon(self) -> None:
        """Many verdicts that come together are one change of the table."""
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        for alert in self._keeper.settle():
            self._send(alert)
        self._remember()
        self._run_programs()
        self._watch(self._keeper.table)

    def _remember(self) -> None:
        """Keep what a restart of this process needs."""
        self._memory.write(self._keeper.remember(), self._states.told)

    def _run_programs(self) -> None:
        """Hand notify programs over; those that find no room are tried again at the next tick."""
        while self._channels is not None and self._keeper.programs:
            try:
                self._channels.scripts.send(messages.encode(self._keeper.programs[0]))
            except OSError:
                return
            self._keeper.programs.pop(0)

    def _watch(self, table: ServiceTable) -> None:
        """Follow the neighbours of whoever is in this table."""
        found: defaultdict[Forwarding, set[Address]] = defaultdict(set)
        for entry in table:
            for server in entry.servers:
                found[server.forwarding].add(server.key.address)
        self._apply_hops(self._watcher.watch(found[Forwarding.ROUTE], found[Forwarding.TUNNEL]))

    def _apply_hops(self, hops: list[NextHop]) -> None:
        if not hops:
            return
        for hop in hops:
            self._hops[str(hop.address)] = hop
        self._plane.set_next_hops(hops)

    def _answer(self, request: messages.Request, uid: int) -> messages.Reply:
        answers: dict[type, Callable[[Any], messages.Reply]] = {
            messages.StatusRequest: self._status,
            messages.TableRequest: self._table,
            messages.ApplyRequest: partial(self._apply, uid=uid),
            messages.ReloadRequest: self._reload,
            messages.ReloadRefused: self._reload_refused,
            messages.SwitchoverRequest: self._switch_over,
            messages.OverrideRequest: self._override,
        }
        try:
            return answers[type(request)](request)
        except OSError as error:
            return messages.ErrorReply(f"the data plane failed: {error}")

    def _override(self, request: messages.OverrideRequest) -> messages.Reply:
        servers = self._keeper.override(request, time.monotonic())
        if not servers:
            where = f" of {request.service}" if request.service else ""
            return messages.ErrorReply(
                f"no real server {request.server}{where} in the configuration; "
                "one put in by hand is changed by pointsman ipvsadm -e"
            )
        said = request.override.text() if request.override else "released"
        log.info("by hand: %s: %s", ", ".join(servers), said)
        self._settle()
        return messages.OverrideReply(tuple(servers))

    def _switch_over(self, request: messages.SwitchoverRequest) -> messages.Reply:
        """Whether it succeeds is up to another router; the state of the instance tells."""
        try:
            if self._channels is not None:
                self._channels.vrrp.send(messages.encode(messages.YieldMaster(request.instance)))
        except OSError as error:
            return messages.ErrorReply(f"VRRP does not listen: {error}")
        return messages.SwitchoverReply()

    def _apply(self, request: messages.ApplyRequest, uid: int) -> messages.Reply:
        refusals = self._keeper.apply(request.operations)
        self._remember()
        refused = {refusal.operation for refusal in refusals}
        for operation in request.operations:
            if operation not in refused:
                log.info("by hand: %s", operation.text())
        for refusal in refusals:
            why = refusal.detail or refusal.reason
            log.warning("refused by hand (uid %d): %s: %s", uid, refusal.operation.text(), why)
        self._watch(self._plane.read())
        return messages.ApplyReply(tuple(refusals))

    def _reload(self, request: messages.ReloadRequest) -> messages.Reply:
        try:
            planned = self._reloader.plan(request.config, request.force)
        except CannotReloadError as error:
            if not request.dry_run and request.config is not None:
                self._reloader.refused((str(error),))
            return messages.ErrorReply(str(error))
        if not request.dry_run:
            self._reloader.adopt(planned, request.file)
            self._states.use(planned.config)
            self._config = planned.config
            if self._mail is not None:
                self._mail.use(planned.config.mail)
            self._stand()
            self._settle()
        return messages.ReloadReply(planned.steps, self._reloader.number)

    def _reload_refused(self, request: messages.ReloadRefused) -> messages.Reply:
        self._reloader.refused(request.problems)
        return messages.ReloadReply((), self._reloader.number)

    def _table(self, request: messages.TableRequest) -> messages.Reply:
        connections: tuple[Connection, ...] = ()
        if request.connections:
            connections = tuple(itertools.islice(self._plane.connections(), MOST_LISTED + 1))
        if len(connections) > MOST_LISTED:
            return messages.ErrorReply(
                f"more than {MOST_LISTED} connections: listing them would hold the director up; as root, "
                "`pointsman ipvsadm -Lc` reads them from the kernel"
            )
        return messages.TableReply(
            table=self._plane.read(),
            counters=self._plane.counters(),
            timeouts=self._plane.timeouts(),
            connection_table_size=self._plane.capabilities().connection_limit,
            connections=connections,
            rates=self._estimator.rates(),
        )

    def _status(self, _request: messages.StatusRequest) -> messages.Reply:
        now = time.monotonic()
        self._follow_interfaces()
        table = self._plane.read()
        hops = {address: status_report.hop_text(hop) for address, hop in self._hops.items()}
        return messages.StatusReply(
            Status(
                router_id=self._config.router_id,
                uptime=now - self._started,
                data_plane=status_report.data_plane(self._plane.capabilities()),
                configuration=self._reloader.describe(
                    now, self._origin.get("file"), self._origin.get("config_id")
                ),
                exits=self._plane.counters().exits,
                instances=tuple(
                    status_report.instance(self._config, report, now - since)
                    for report, since in self._states.listed()
                ),
                sessions=status_report.sessions(self._config, self._sessions),
                services=self._keeper.describe(table, hops, now),
                problems=(
                    *self._interface_problems,
                    *self._watcher.problems().values(),
                    *self._keeper.problems(table),
                    *self._reloader.problems(),
                ),
            )
        )


def run(
    generations: ConfigHistory,
    plane: DataPlane,
    channels: Channels,
    ready: socket.socket,
    keep_forwarding: bool,
    survey: Survey,
    origin: dict[str, str | None],
) -> int:
    """The body of the director process; `origin` (file, config_id) is only shown.

    Raises OSError when the data plane or netlink cannot be used.
    """
    director = Director(generations, plane, keep_forwarding, survey, origin)
    return asyncio.run(director.run(channels, ready))
