# SPDX-License-Identifier: Apache-2.0
"""The VRRP process: adverts, virtual addresses and gratuitous ARP of all instances, and nothing else.

It is a separate process because nothing may delay it. Its loop (event_loop.py) reads a packet that arrived
before a timer was due before that timer fires. So a backup that was stalled does not become master.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from pointsman.control.messages import (
    AdvertsDropped,
    NewConfiguration,
    Resync,
    YieldMaster,
    encode,
    vrrp_order_decoder,
)
from pointsman.control.vrrp_messages import TrackerValue, tracker_value_decoder
from pointsman.daemon.child import TRANSIENT
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.heartbeat import Heartbeat
from pointsman.daemon.runtime.realtime import become_punctual
from pointsman.daemon.vrrp.addresses import Context
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.instances import InstanceSet
from pointsman.daemon.vrrp.preflight import EnvironmentProblemError, check_devices, check_link_types, explain
from pointsman.daemon.vrrp.reports import AdvertReports, ReportChannel
from pointsman.daemon.vrrp.residual_addresses import ResidualAddresses
from pointsman.daemon.vrrp.static import StaticObjects
from pointsman.daemon.vrrp.sync_groups import SyncGroups
from pointsman.daemon.vrrp.trackers import Trackers
from pointsman.daemon.vrrp.vmac import accept_filter, sysctls
from pointsman.model.config import Config
from pointsman.model.tracking import VrrpSurroundings
from pointsman.model.vrrp import StaticSettings, VrrpInstance, VrrpState, needs_scripts_process
from pointsman.net.addresses import RTM_DELADDR, RTM_NEWADDR, addresses, parse_address
from pointsman.net.arp import AnswerSocket, open_answer_sockets
from pointsman.net.links import RTM_DELLINK, Link, links, parse_link
from pointsman.net.neighbour_table import remove_groups
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.net.route_table import RTM_DELROUTE
from pointsman.net.rules import RTM_DELRULE
from pointsman.vrrp.yielding import LONGEST_PATIENCE

EXIT_OK, EXIT_TRANSIENT, EXIT_ENVIRONMENT = 0, 1, 3

_RETRY_INTERVAL = 1.0
"""Seconds until sockets that could not be opened are tried again.

The kernel announces a new address a moment before a socket can be bound to it (net/ipv4/devinet.c:
__inet_insert_ifa).
"""

log = logging.getLogger("vrrp")


def clock() -> float:
    """Return the seconds since boot, suspension included: the `now` of every machine here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(
    instances: tuple[VrrpInstance, ...],
    channel: socket.socket,
    run_directory: Path,
    surroundings: VrrpSurroundings | None = None,
    scripts: socket.socket | None = None,
    wait_for_interfaces: bool = False,
    bfd: socket.socket | None = None,
    static: StaticSettings | None = None,
    heartbeat: Heartbeat | None = None,
    wait_for_table: bool = False,
    serial: int = 0,
) -> int:
    """Run the instances until SIGTERM. Return the exit code.

    0: orderly stop. 1: a restart may help. 3: this host lacks something.

    An instance without a source address for adverts waits for it in FAULT; the others work. With
    `wait_for_interfaces` or dynamic_interfaces, an instance whose interface is missing waits, too.

    `channel` (SOCK_SEQPACKET) leads to the director. It carries an InstanceChanged for every instance at the
    start and at every change, and the director's VrrpOrder messages. `scripts` leads to pm-scripts: notify
    events go there, tracker values come from there. `bfd` carries the tracker values of BFD.

    `wait_for_table`: the director has not reported yet that its table is in force (Resync). Instances that an
    earlier process has left as master continue, because the kernel still forwards for them. Without any, all
    instances start as backup, and none becomes master before the table is in force.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    try:
        process = VrrpProcess(
            *(instances, channel, run_directory, surroundings or VrrpSurroundings(), scripts),
            *(wait_for_interfaces, bfd),
            static or StaticSettings(),
            heartbeat,
            serial,
        )
    except EnvironmentProblemError as problem:
        sys.stderr.write(f"pointsman vrrp: {problem}\n")  # one write call: other processes write there, too
        return EXIT_ENVIRONMENT
    except OSError as problem:
        sys.stderr.write(f"pointsman vrrp: cannot start now: {problem}\n")
        return EXIT_TRANSIENT
    process.run(wait_for_table)
    return EXIT_OK


class VrrpProcess:
    """All instances, their timers and their channels.

    The constructor checks the requirements and changes nothing. It raises EnvironmentProblemError.
    """

    def __init__(
        self,
        instances: Sequence[VrrpInstance],
        channel: socket.socket,
        run_directory: Path,
        surroundings: VrrpSurroundings,
        scripts: socket.socket | None,
        wait_for_interfaces: bool = False,
        bfd: socket.socket | None = None,
        static: StaticSettings = StaticSettings(),  # noqa: B008
        heartbeat: Heartbeat | None = None,
        serial: int = 0,
    ) -> None:
        self._orders = Inbox(channel, vrrp_order_decoder, "director", log, serial)
        self._scripts = scripts
        self._bfd = bfd
        self._reports = ReportChannel(channel, scripts)
        self._advert_reports = AdvertReports()
        self._loop = EventLoop(clock, log, heartbeat)
        try:
            # The monitor is opened before the first read, so that no change is missed between the two.
            self._monitor = NetlinkMonitor(
                NetlinkMonitor.LINK | NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV6_ADDRESS
            )
            self._netlink = NetlinkSocket()
            self._links = links(self._netlink)
            self._present = addresses(self._netlink)
            shared = sysctls(run_directory), accept_filter(run_directory)
            self._context = Context(self._netlink, self._links, clock, self._reports.notify, *shared)
            self._answers = open_answer_sockets()
            self._static = StaticObjects(static, self._netlink, self._links, clock)
            self._trackers = Trackers(self._links, clock)
        except OSError as error:
            if error.errno in TRANSIENT:
                raise
            raise EnvironmentProblemError(
                f"cannot use netlink and packet sockets: {explain(error)}"
            ) from error
        if not (wait_for_interfaces or surroundings.dynamic_interfaces):
            check_devices(instances, self._links)
            check_link_types(instances, self._links, self._netlink)
        self._deadlines: DeadlineQueue[InstanceController] = DeadlineQueue()
        self._instances = InstanceSet(
            self._context, run_directory, self._loop, self._reports.send_report, self._deadlines
        )
        self._controllers = self._instances.controllers
        self._instances.set_virtual_addresses(instances)
        for instance in instances:
            self._instances.add(instance, self._present, quiet=static.has_address_for(instance))
        self._groups = SyncGroups(self._deadlines, self._reports)
        self._apply_surroundings(tuple(instances), surroundings)
        self._retry_at: float | None = None
        self._open_sockets()

    def run(self, wait_for_table: bool = False) -> None:
        """Start every instance, work until SIGTERM or SIGINT, stop every instance."""
        self._prepare()
        instances = [controller.instance for controller in self._controllers]
        residual = ResidualAddresses(self._netlink, self._links, self._present, instances)
        residual.remove_unconfigured(self._static.settings)
        self._reports.notify(Resync())
        if self._bfd is not None:
            self._bfd.send(encode(Resync()))
        self._static.start(self._present)
        self._instances.set_static_faults(self._static.faults)
        if wait_for_table and self._controllers and not residual.has_virtual:
            self._trackers.expect_table()
            log.info("no instance becomes master before the service table is in force")
        self._start_instances()
        while not self._loop.stopping:
            self._turn()
        self._yield_and_stop()
        for controller in self._controllers:
            controller.stop()
        self._static.stop()
        remove_groups(self._netlink)
        self._groups.sync(clock())
        self._reports.flush()
        log.info("Stopped")

    def _start_instances(self) -> None:
        self._present = addresses(self._netlink)
        self._instances.find_sources(self._present)  # one may be a static address
        self._open_sockets()
        for controller in self._controllers:
            controller.start(self._present, self._trackers)
        self._context.sysctls.restore_unneeded()
        self._context.accept_filter.activate()

    def _yield_and_stop(self) -> None:
        """Let other routers take over before addresses are removed. A second signal ends the wait."""
        self._loop.stopping = False
        deadline = clock() + LONGEST_PATIENCE
        for controller in self._controllers:
            controller.yield_and_stop()
        while not self._loop.stopping and clock() < deadline:
            if all(controller.machine.state is VrrpState.INIT for controller in self._controllers):
                return
            self._turn()

    def _apply_surroundings(self, instances: tuple[VrrpInstance, ...], settings: VrrpSurroundings) -> None:
        """Use the sync groups, trackers and announcement pauses of a configuration."""
        self._groups.reconfigure(settings.groups, self._controllers)
        self._trackers.reconfigure(settings)
        if self._static.settings or any(each.routes or each.rules for each in instances):
            self._monitor.follow_routing()
        self._context.garp_pacer.reconfigure(settings.pauses)
        self._reports.has_scripts_process = needs_scripts_process(instances, settings)
        self._trackers.read_interfaces(instances)

    def _prepare(self) -> None:
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        self._loop.watch(self._monitor, self._on_netlink)
        self._loop.watch(self._orders.channel, self._on_order)
        for each in self._answers:
            self._loop.watch(each, partial(self._on_answers, each))
        for name, tracker in (("scripts process", self._scripts), ("BFD process", self._bfd)):
            if tracker is not None:
                tracker.setblocking(False)
                inbox = Inbox(tracker, tracker_value_decoder, name, log)
                self._loop.watch(tracker, partial(self._on_tracker_values, inbox))
        if refused := become_punctual():
            log.warning("Adverts may be late under load, refused by the kernel: %s", ", ".join(refused))

    def _turn(self) -> None:
        self._loop.turn(self)
        self._groups.sync(clock())
        for each in self._context.dropped.due(clock()):
            self._reports.send_report(AdvertsDropped(*msgspec.structs.astuple(each)))
        self._reports.flush()
        self._reports.send_heard(self._advert_reports.take(clock(), self._controllers))

    @property
    def deadline(self) -> float | None:
        """Time of the first timer. None: no timer runs."""
        first = self._deadlines.first()
        # min() is slower, and the loop asks twice for each advert.
        others = self._static.deadline, self._context.garp_pacer.deadline, self._trackers.deadline
        for timer in (self._retry_at, *others):
            if timer is not None and (first is None or timer < first):
                first = timer
        return first

    def advance(self, now: float) -> None:
        """Fire the timers that are due."""
        self._advance_static(now)
        self._context.garp_pacer.advance(now)
        if self._trackers.advance(now):
            self._instances.update_faults(self._trackers)
        if self._retry_at is not None and self._retry_at <= now:
            self._on_link_change()
        self._instances.advance(now)

    def _advance_static(self, now: float) -> None:
        if self._static.deadline is not None and self._static.deadline <= now:
            self._static.advance(now)
            self._instances.set_static_faults(self._static.faults)
            self._instances.update_faults(self._trackers)

    def _on_netlink(self) -> None:
        try:
            messages = self._monitor.read()
        except NetlinkOverrunError:
            self._on_overrun()
            return
        changed, settled = False, all(controller.is_settled for controller in self._controllers)
        sources = {controller.machine.own_address for controller in self._controllers}
        for message in messages:
            if message.type == RTM_DELADDR and (removed := parse_address(message)):
                changed = changed or removed.address in sources
                self._static.on_address_removed(removed)
                for controller in self._controllers:
                    controller.on_address_removed(removed)
            elif message.type in (RTM_DELROUTE, RTM_DELRULE):
                self._static.on_route_removed(message)
                for controller in self._controllers:
                    controller.on_route_removed(message)
            elif message.type == RTM_NEWADDR:
                changed = changed or not settled
            elif link := parse_link(message):
                self._update_link(link, deleted=message.type == RTM_DELLINK)
                changed = True
        if changed:
            self._on_link_change()

    def _on_overrun(self) -> None:
        """Look at everything again: any notification may have been lost."""
        log.warning("the kernel dropped notifications: checking interfaces, addresses, routes and rules")
        self._links.clear()
        self._links.update(links(self._netlink))
        self._static.recheck()
        for controller in self._controllers:
            controller.recheck()
        self._on_link_change()

    def _update_link(self, link: Link, deleted: bool) -> None:
        for name in [name for name, known in self._links.items() if known.index == link.index]:
            del self._links[name]
        if not deleted:
            self._links[link.name] = link

    def _open_sockets(self) -> None:
        self._retry_at = None if self._instances.open_sockets() else clock() + _RETRY_INTERVAL

    def _on_link_change(self) -> None:
        self._instances.find_sources(addresses(self._netlink))
        self._open_sockets()
        self._static.on_links_changed()
        self._trackers.read_interfaces(controller.instance for controller in self._controllers)
        self._instances.update_faults(self._trackers)

    def _on_order(self) -> None:
        """Execute one order of the director. The supervisor handles the end of the director."""
        match self._orders.receive():
            case NewConfiguration(config=Config() as config):
                self._reconfigure(config)
            case YieldMaster(instance=name):
                self._instances.yield_master(name, clock())
            case Resync():
                self._on_table()
                self._advert_reports.forget()
                for controller in self._controllers:
                    self._reports.send_report(controller.status())
                self._context.dropped.report_again()
        if self._orders.closed:
            self._loop.unwatch(self._orders.channel)

    def _on_table(self) -> None:
        if self._trackers.is_table_awaited:
            self._trackers.on_table()
            self._instances.update_faults(self._trackers)

    def _reconfigure(self, config: Config) -> None:
        """Use another configuration. One that this host cannot run changes nothing."""
        self._present = addresses(self._netlink)
        try:
            complete = self._instances.reconfigure(
                *(config.instances, self._present, self._trackers),
                wait_for_interfaces=config.vrrp.dynamic_interfaces,
            )
        except (EnvironmentProblemError, OSError) as problem:
            log.error("VRRP keeps the old configuration: %s", problem)
            return
        self._retry_at = None if complete else clock() + _RETRY_INTERVAL
        self._static.reconfigure(config.static)
        self._instances.set_static_faults(self._static.faults)
        self._reports.flush()  # events of removed instances, before nobody wants events any more
        self._apply_surroundings(config.instances, config.vrrp)
        self._instances.update_faults(self._trackers)

    def _on_tracker_values(self, inbox: Inbox[TrackerValue]) -> None:
        """Store new tracker values, and update all instances."""
        while (received := inbox.receive()) is not None:
            self._trackers.on_value(received)
        if inbox.closed:
            self._loop.unwatch(inbox.channel)
        self._instances.update_faults(self._trackers)

    def _on_answers(self, answers: AnswerSocket) -> None:
        for answer in answers.receive():
            for controller in self._controllers:
                controller.on_answer(answer)
