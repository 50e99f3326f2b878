# SPDX-License-Identifier: Apache-2.0
"""The director process: keeps the table of the data plane, answers clients, sends mail.

Its inputs are check results, states of VRRP and BFD, neighbours (netlink) and the control socket. All work is
done in one asyncio loop. Replies that take long are made in slices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from pointsman.control import client_messages, messages
from pointsman.control.paths import control_socket, run_directory
from pointsman.control.server import ControlServer
from pointsman.control.status import Status
from pointsman.control.sync_messages import HandedOver, SyncReport
from pointsman.daemon.director import status as status_report
from pointsman.daemon.director.heartbeats import Heartbeats, unknown_services, without_unknown
from pointsman.daemon.director.interfaces import Interfaces, read_addresses
from pointsman.daemon.director.mail import MailQueue
from pointsman.daemon.director.next_hops import NextHops
from pointsman.daemon.director.notify import send_orders
from pointsman.daemon.director.passive_check import PassiveCheck
from pointsman.daemon.director.reload import CannotReloadError, Reload, Survey
from pointsman.daemon.director.shutdown import shut_down
from pointsman.daemon.director.state_file import DirectorState, StateFile
from pointsman.daemon.director.sync_state import SyncState
from pointsman.daemon.director.table_command import carry_out
from pointsman.daemon.director.table_reply import estimate_rates, table_reply
from pointsman.daemon.director.table_sync import TableSync
from pointsman.daemon.director.take_over import take_over
from pointsman.daemon.director.vrrp_states import VrrpStates
from pointsman.daemon.runtime.channels import Channels, Inbox, ask_again, inboxes, receivers
from pointsman.daemon.runtime.config_history import ConfigHistory
from pointsman.daemon.runtime.slices import in_slices
from pointsman.dataplane.interface import DataPlane
from pointsman.health.alerts import Alert
from pointsman.health.unanswered import unanswered_problems
from pointsman.lvs.estimator import Estimator
from pointsman.lvs.grace import Grace
from pointsman.model.decoding import InvalidDataError
from pointsman.model.wording import count

log = logging.getLogger("director")

TICK = 1.0
"""Seconds between refreshes of neighbours and retries of refused operations."""
JOIN_WAIT = 2.0
"""Seconds that a starting director waits at most for the connections of the others before it is master."""
MAX_REPORTS = 1024
"""Reports of one process that are read at a time."""


class Director:
    """The director process with one data plane."""

    def __init__(
        self,
        config_history: ConfigHistory,
        plane: DataPlane,
        keep_forwarding: bool,
        survey: Survey,
        origin: dict[str, str | None],
        heartbeats: Heartbeats | None = None,
    ) -> None:
        self._config = config_history.current
        self._plane = plane
        self._keep_forwarding = keep_forwarding
        self._state_file = StateFile(run_directory())
        restored = self._state_file.read() or DirectorState()
        if restored.boot:
            log.info("restored the state of the previous director process")
        self._table_sync = TableSync(self._config, plane, restored.table if restored.boot else None)
        self._origin = origin
        self._heartbeats = heartbeats or Heartbeats()
        self._reloader = Reload(config_history, self._table_sync, plane, survey)
        self._next_hops = NextHops(plane)
        self._grace = Grace(self._config, plane.is_fresh, time.monotonic())
        self._vrrp_states = VrrpStates(self._config, restored.instances)
        self._sessions: dict[str, messages.SessionChanged] = {}
        """BFD sessions by name."""
        self._sync_state = SyncState()
        self._started = time.monotonic()
        self._mail: MailQueue | None = None
        self._channels: Channels | None = None
        self._sync_due = False
        self._interfaces = Interfaces(plane)
        self._program_problems: tuple[str, ...] = ()
        self._estimator = Estimator()
        self._passive_check = PassiveCheck(plane)

    async def run(self, channels: Channels, ready: socket.socket) -> int:
        """Run until SIGTERM and return the exit code. Raises OSError.

        `ready` receives Ready once the table is in force.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._mail = MailQueue(self._config.mail)
        self._mail.start()
        self._channels = channels
        self._reloader.receivers = receivers(channels, ready)
        processes = inboxes(channels)
        self._update_local_addresses()
        self._sync()
        take_over(self._plane)
        self._plane.unattended.resume()
        control = ControlServer(control_socket(), self._answer)
        await control.start()
        loop.add_reader(self._next_hops.fileno(), lambda: self._next_hops.refresh(time.monotonic()))
        for channel in channels.all():
            channel.setblocking(False)
        for inbox in processes:
            loop.add_reader(inbox.channel, self._on_readable, inbox)
            if inbox.channel is not channels.vrrp:
                ask_again(inbox.channel)
        joining = asyncio.create_task(self._let_vrrp_go(channels.vrrp))
        self._interfaces.follow_changes(time.monotonic())
        table = self._plane.read()
        servers = sum(len(entry.servers) for entry in table)
        log.info("ready: %s with %s", count(len(table), "service"), count(servers, "real server"))
        estimating = asyncio.create_task(estimate_rates(self._plane, self._estimator))
        ready.setblocking(False)
        with contextlib.suppress(OSError):
            ready.send(messages.encode(messages.Ready()))
        self._heartbeats.own.beat_in(loop)
        while not stop.is_set():
            self._tick(channels)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK)
        for task in (estimating, joining):
            task.cancel()
        await asyncio.wait([estimating, joining])  # the first reads the maps
        for inbox in processes:
            loop.remove_reader(inbox.channel)
            self._on_readable(inbox)
        await asyncio.sleep(0)  # the last results are applied before the mails of the stop
        await control.close()
        if not self._keep_forwarding:
            for alert in self._table_sync.shutdown_alerts():
                self._queue_mail(alert)
            self._send_notify_orders()
        await self._mail.close()
        self._shut_down()
        return 0

    async def _let_vrrp_go(self, vrrp: socket.socket) -> None:
        """Tell VRRP that the table is in force, with the connections of the other directors in it."""
        if self._config.sync is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sync_state.joined.wait(), JOIN_WAIT)
        ask_again(vrrp)

    def _shut_down(self) -> None:
        shut_down(self._plane, self._table_sync, self._state_file, self._keep_forwarding)
        self._next_hops.close()

    def _tick(self, channels: Channels) -> None:
        self._next_hops.refresh(time.monotonic())
        self._interfaces.follow_changes(time.monotonic())
        self._passive_check.check_suspects(time.monotonic(), self._table_sync.index, channels)
        self._reloader.send_pending()
        self._send_notify_orders()
        if self._table_sync.expire_overrides(time.monotonic()) or self._table_sync.needs_sync:
            self._sync()

    def _on_readable(self, inbox: Inbox[messages.Report]) -> None:
        """Handle the reports of a process."""
        for _ in range(MAX_REPORTS):
            match inbox.receive():
                case messages.CheckResult() as result:
                    self._queue_mail(self._table_sync.on_check_result(result))
                    self._sync_soon()
                case messages.GroupChanged() as group:
                    self._queue_mail(self._vrrp_states.on_group_changed(group))
                case messages.AdvertsHeard() as heard:
                    self._vrrp_states.on_adverts_heard(heard)
                case messages.ProgramProblems() as report:
                    self._program_problems = report.problems
                case messages.SessionChanged() as session:
                    self._sessions[session.session] = session
                case SyncReport() as synced:
                    self._sync_state.report(synced, time.monotonic())
                case HandedOver() as handed:
                    self._sync_state.on_handed_over(handed)
                case messages.AdvertsDropped() as dropped:
                    self._vrrp_states.on_adverts_dropped(dropped, time.monotonic())
                case messages.InstanceChanged() as instance:
                    self._on_instance_changed(instance)
                    self._sync_virtual_macs()
                    self._update_local_addresses()
                    self._sync_soon()
                case None:
                    break
        if inbox.closed:
            asyncio.get_running_loop().remove_reader(inbox.channel)

    def _on_instance_changed(self, report: messages.InstanceChanged) -> None:
        before = self._vrrp_states.states.get(report.instance)
        alert = self._vrrp_states.on_instance_changed(report, time.monotonic())
        if self._vrrp_states.states.get(report.instance) != before:
            self._write_state()
        grace = self._grace.on_held(self._vrrp_states.holds_addresses(), time.monotonic())
        self._plane.unattended.set_grace(grace)
        self._queue_mail(alert)

    def _update_local_addresses(self) -> None:
        """Pass the addresses of this host to the table, apart from those that VRRP moves."""
        if not (self._config.instances and self._config.virtual_servers):
            return
        own = read_addresses()
        moving = {entry.address for instance in self._config.instances for entry in instance.moving_addresses}
        if own is not None:
            self._table_sync.set_local_addresses(own - moving, self._vrrp_states.holds_addresses())

    def _sync_virtual_macs(self) -> None:
        """Accept packets to the MAC address of a virtual router while its addresses are on this host."""
        try:
            self._plane.set_virtual_macs(self._vrrp_states.virtual_macs())
        except OSError as error:
            log.error("cannot set the virtual MAC addresses of the data plane: %s", error)

    def _queue_mail(self, alert: Alert | None) -> None:
        if alert is not None and self._mail is not None:
            self._mail.put(alert)

    def _sync_soon(self) -> None:
        """Sync after all reports that are waiting: many results make one change of the table."""
        if not self._sync_due:
            self._sync_due = True
            asyncio.get_running_loop().call_soon(self._sync)

    def _sync(self) -> None:
        self._sync_due = False
        for alert in self._table_sync.sync():
            self._queue_mail(alert)
        self._write_state()
        self._send_notify_orders()
        self._follow_next_hops()

    def _follow_next_hops(self) -> None:
        """Follow the next hops of the services that have changed in the table, and set their grace."""
        changed, self._table_sync.changed = self._table_sync.changed, set()
        self._plane.unattended.set_grace(self._grace.of(changed, time.monotonic()))
        self._next_hops.follow(changed)

    def _write_state(self) -> None:
        """Write the state that the next process restores after a crash."""
        self._state_file.write(self._table_sync.state(), self._vrrp_states.states)

    def _send_notify_orders(self) -> None:
        """Send notify orders to pm-scripts. If its channel is full, try again at the next TICK."""
        if self._channels is None or self._reloader.is_pending(self._channels.scripts):
            return
        send_orders(self._table_sync.notify_orders, self._channels.scripts)

    async def _answer(self, request: client_messages.Request, uid: int) -> client_messages.Answer:
        try:
            match request:
                case client_messages.StatusRequest():
                    return await self._status(request)
                case client_messages.TableRequest():
                    return await table_reply(self._plane, self._estimator, request)
                case client_messages.SwitchoverRequest():
                    return await self._switch_over(request)
                case client_messages.ApplyRequest():
                    return await self._apply(request, uid)
                case _:
                    return self._change(request)
        except OSError as error:
            return client_messages.ErrorReply(f"the data plane failed: {error}")

    def _change(self, request: client_messages.Request) -> client_messages.Reply:
        answers: dict[type, Callable[[Any], client_messages.Reply]] = {
            client_messages.ReloadRequest: self._reload,
            client_messages.ReloadRefused: self._reload_refused,
            client_messages.OverrideRequest: self._override,
        }
        return answers[type(request)](request)

    def _override(self, request: client_messages.OverrideRequest) -> client_messages.Reply:
        servers = self._table_sync.override(request, time.monotonic())
        if not servers:
            where = f" of {request.service}" if request.service else ""
            return client_messages.ErrorReply(
                f"no real server {request.server}{where} in the configuration; "
                "to change one that was added by hand: pointsman ipvsadm -e"
            )
        text = request.override.text() if request.override else "released"
        log.info("by hand: %s: %s", ", ".join(servers), text)
        self._sync()
        return client_messages.OverrideReply(tuple(servers))

    async def _switch_over(self, request: client_messages.SwitchoverRequest) -> client_messages.Reply:
        """Pass the request on. Another router decides about its success; the instance's state shows it."""
        try:
            if self._channels is not None:
                await self._sync_state.hand_over(self._channels.sync, self._config.sync)
                self._channels.vrrp.send(messages.encode(messages.YieldMaster(request.instance)))
        except OSError as error:
            return client_messages.ErrorReply(f"cannot reach the VRRP process: {error}")
        return client_messages.SwitchoverReply()

    async def _apply(self, request: client_messages.ApplyRequest, uid: int) -> client_messages.Reply:
        try:
            return await carry_out(request, uid, self._table_sync, self._plane, self._follow_next_hops)
        finally:
            self._write_state()

    def _reload(self, request: client_messages.ReloadRequest) -> client_messages.Reply:
        try:
            planned = self._reloader.plan(request.config, request.force)
        except (CannotReloadError, InvalidDataError) as error:
            if not request.dry_run and request.config is not None:
                self._reloader.on_refused((str(error),))
            return client_messages.ErrorReply(str(error))
        if not request.dry_run:
            self._reloader.apply(planned, request.file, request.warnings)
            self._vrrp_states.reconfigure(planned.config)
            self._config = planned.config
            self._grace.reconfigure(planned.config)
            self._heartbeats.reconfigure(time.monotonic())
            if self._mail is not None:
                self._mail.reconfigure(planned.config.mail)
            self._update_local_addresses()
            self._sync()
        return client_messages.ReloadReply(planned.steps, self._reloader.number)

    def _reload_refused(self, request: client_messages.ReloadRefused) -> client_messages.Reply:
        self._reloader.on_refused(request.problems)
        return client_messages.ReloadReply((), self._reloader.number)

    async def _status(self, request: client_messages.StatusRequest) -> client_messages.Pages:
        """Return the status, encoded, with the services in pages of about a slice of work."""
        table, now = self._plane.read(), time.monotonic()
        silences = self._heartbeats.silences(self._config, now)
        counts = status_report.ConnectionCounts(self._plane) if request.connections else None
        described = self._table_sync.describe(table, self._next_hops.texts(), now, counts)
        listed = unknown_services(described, silences, self._config) if request.services else ()
        pages = [
            client_messages.encode(client_messages.ServicesReply(tuple(piece)))
            async for piece in in_slices(listed)
            if piece
        ]
        differences = [
            each async for piece in in_slices(self._table_sync.differences(table)) for each in piece
        ]
        now = time.monotonic()
        status = Status(
            router_id=self._config.router_id,
            uptime=now - self._started,
            data_plane=status_report.data_plane(self._plane.capabilities(), counts),
            configuration=self._reloader.describe(
                now, self._origin.get("file"), self._origin.get("config_id")
            ),
            exits=self._plane.exits(),
            instances=self._vrrp_states.describe(now, time.clock_gettime(time.CLOCK_BOOTTIME)),
            sessions=status_report.sessions(self._config, self._sessions),
            sync=self._sync_state.describe(self._config.sync, now, time.clock_gettime(time.CLOCK_BOOTTIME)),
            problems=(
                *self._heartbeats.crashes(self._config, now),
                *self._interfaces.problems,
                *self._next_hops.problems(),
                *unanswered_problems(self._plane.unanswered()),
                *self._program_problems,
                *self._table_sync.problems(differences),
                *self._reloader.problems(),
                *(self._mail.problems() if self._mail else ()),
            ),
        )
        last = client_messages.StatusReply(without_unknown(status, silences))
        return (*pages, client_messages.encode(last))


def run(
    config_history: ConfigHistory,
    plane: DataPlane,
    channels: Channels,
    ready: socket.socket,
    keep_forwarding: bool,
    survey: Survey,
    origin: dict[str, str | None],
    heartbeats: Heartbeats,
) -> int:
    """Run the director process and return its exit code. `origin`: file and config_id for `status`.

    Raises OSError if the data plane or netlink cannot be used.
    """
    director = Director(config_history, plane, keep_forwarding, survey, origin, heartbeats)
    return asyncio.run(director.run(channels, ready))
