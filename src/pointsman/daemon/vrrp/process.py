"""The VRRP process: adverts, virtual addresses and gratuitous ARP of all instances, and nothing else.

It has a process of its own because nothing may delay it. Its loop (event_loop.py) reads whatever arrived
before a timer was due before that timer fires: a stalled backup thus makes no false master.
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

from pointsman.control.messages import NewConfiguration, Resync, YieldMaster, encode, vrrp_order_decoder
from pointsman.control.vrrp_messages import TrackerValue, tracker_value_decoder
from pointsman.daemon.runtime.channels import Inbox
from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.realtime import become_punctual
from pointsman.daemon.vrrp.addresses import Context
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.instances import InstanceSet
from pointsman.daemon.vrrp.preflight import (
    EnvironmentProblemError,
    check_devices,
    check_kinds,
    way_out,
)
from pointsman.daemon.vrrp.reports import ReportChannel
from pointsman.daemon.vrrp.static import StaticObjects
from pointsman.daemon.vrrp.sync_groups import SyncGroups
from pointsman.daemon.vrrp.vmac import remove_strays, shield, sysctls
from pointsman.model.config import Config
from pointsman.model.tracking import TrackKind, VrrpSurroundings
from pointsman.model.vrrp import StaticSettings, VrrpInstance, VrrpState, needs_scripts_process
from pointsman.net.addresses import (
    RTM_DELADDR,
    RTM_NEWADDR,
    VRRP_MARK,
    addresses,
    parse_address,
    remove,
)
from pointsman.net.arp import AnswerSocket
from pointsman.net.links import RTM_DELLINK, Link, links, parse_link
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.net.route_table import RTM_DELROUTE
from pointsman.net.rules import RTM_DELRULE
from pointsman.vrrp.machine import LONGEST_PATIENCE

EXIT_OK, EXIT_ENVIRONMENT = 0, 3

_LOOK_AGAIN = 1.0
"""Seconds until sockets that could not be had are tried for again: of a new address the kernel tells a moment
before anything can be bound to it (net/ipv4/devinet.c: __inet_insert_ifa)."""

log = logging.getLogger("vrrp")


def clock() -> float:
    """Seconds since boot, suspension included: the `now` of every machine here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(
    instances: tuple[VrrpInstance, ...],
    channel: socket.socket,
    run_directory: Path,
    surroundings: VrrpSurroundings | None = None,
    helper: socket.socket | None = None,
    patient: bool = False,
    bfd: socket.socket | None = None,
    static: StaticSettings | None = None,
) -> int:
    """Run the instances until SIGTERM. The exit code: 0 stopped in order, 3 this host lacks something.

    An instance that has no address to send adverts from waits for it, in FAULT, and the others work;
    `patient`, or dynamic_interfaces: one whose interface is missing does so, too.

    `channel` (SOCK_SEQPACKET) carries an InstanceChanged for every instance at the start and at every change;
    the director's orders (VrrpOrder) come on it. `helper` leads to the process that runs programs
    (scripts/process.py): notices go there, readings of trackers come from it, and from `bfd`.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    try:
        process = VrrpProcess(
            *(instances, channel, run_directory, surroundings or VrrpSurroundings(), helper, patient, bfd),
            static or StaticSettings(),
        )
    except EnvironmentProblemError as problem:
        sys.stderr.write(f"pointsman vrrp: {problem}\n")  # in one piece: others write there, too
        return EXIT_ENVIRONMENT
    process.run()
    return EXIT_OK


class VrrpProcess:
    """All instances at work. Making it checks everything and changes nothing.

    Raises EnvironmentProblemError.
    """

    def __init__(
        self,
        instances: Sequence[VrrpInstance],
        channel: socket.socket,
        run_directory: Path,
        surroundings: VrrpSurroundings,
        helper: socket.socket | None,
        patient: bool = False,
        bfd: socket.socket | None = None,
        static: StaticSettings = StaticSettings(),  # noqa: B008
    ) -> None:
        self._orders = Inbox(channel, vrrp_order_decoder, "director", log)
        self._helper = helper
        self._bfd = bfd
        self._outbox = ReportChannel(channel, helper)
        self._readings: dict[tuple[TrackKind, str], int] = {}
        self._loop = EventLoop(clock, log)
        try:
            # Listening begins before the first look, so that no change falls between the two.
            self._monitor = NetlinkMonitor(
                NetlinkMonitor.LINK | NetlinkMonitor.IPV4_ADDRESS | NetlinkMonitor.IPV6_ADDRESS
            )
            self._netlink = NetlinkSocket()
            self._links = links(self._netlink)
            self._present = addresses(self._netlink)
            lent = sysctls(run_directory), shield(run_directory)
            self._host = Context(self._netlink, self._links, clock, self._outbox.notify, *lent)
            self._answers = AnswerSocket()
            self._statics = StaticObjects(static, self._netlink, self._links, clock)
        except OSError as error:
            raise EnvironmentProblemError(
                f"cannot use netlink and packet sockets: {way_out(error)}"
            ) from error
        if not (patient or surroundings.dynamic_interfaces):
            check_devices(instances, self._links)
            check_kinds(instances, self._links, self._netlink)
        self._agenda: DeadlineQueue[InstanceController] = DeadlineQueue()
        self._crew = InstanceSet(self._host, run_directory, self._loop, self._outbox.report, self._agenda)
        self._routers = self._crew.routers
        self._crew.expect(instances)
        for instance in instances:
            self._crew.add(instance, self._present)
        self._groups = SyncGroups(self._agenda, self._outbox)
        self._surround(tuple(instances), surroundings)
        self._look_again: float | None = None
        self._reopen()

    def run(self) -> None:
        """Start every instance, work until SIGTERM or SIGINT, stop every instance."""
        self._prepare()
        self._remove_strays()
        self._outbox.notify(Resync())
        if self._bfd is not None:
            self._bfd.send(encode(Resync()))
        self._statics.start(self._present)
        self._take_static_faults()
        for router in self._routers:
            router.start(self._present, self._readings)
        self._host.sysctls.put_back_unwanted()
        self._host.shield.begin()
        while not self._loop.stopping:
            self._turn()
        self._retire()
        for router in self._routers:
            router.stop()
        self._statics.stop()
        self._groups.settle(clock())
        self._outbox.flush()
        log.info("Stopped")

    def _retire(self) -> None:
        """Let the others take over before anything is given up; a second signal cuts this short."""
        self._loop.stopping = False
        deadline = clock() + LONGEST_PATIENCE
        for router in self._routers:
            router.retire()
        while not self._loop.stopping and clock() < deadline:
            if all(router.machine.state is VrrpState.INIT for router in self._routers):
                return
            self._turn()

    def _surround(self, instances: tuple[VrrpInstance, ...], surroundings: VrrpSurroundings) -> None:
        """Sync groups and trackers as they are from now on."""
        self._groups.form(surroundings.groups, self._routers)
        for script in surroundings.scripts:
            if script.init_fail:
                self._readings.setdefault((TrackKind.SCRIPT, script.name), 0)
        if self._statics.settings or any(each.routes or each.rules for each in instances):
            self._monitor.follow_routing()
        self._host.pacer.use(surroundings.pauses)
        self._outbox.helped = needs_scripts_process(instances, surroundings)
        self._read_interfaces()

    def _read_interfaces(self) -> None:
        """How the tracked interfaces are; one that does not exist is down."""
        for router in self._routers:
            for tracked in router.instance.tracked:
                if tracked.kind is TrackKind.INTERFACE:
                    link = self._links.get(tracked.name)
                    self._readings[tracked.kind, tracked.name] = int(link is not None and link.running)

    def _prepare(self) -> None:
        self._loop.stop_on(signal.SIGTERM, signal.SIGINT)
        self._loop.watch(self._monitor, self._read_monitor)
        self._loop.watch(self._orders.channel, self._on_order)
        self._loop.watch(self._answers, self._on_answers)
        for name, tracker in (("process that runs scripts", self._helper), ("BFD process", self._bfd)):
            if tracker is not None:
                tracker.setblocking(False)
                inbox = Inbox(tracker, tracker_value_decoder, name, log)
                self._loop.watch(tracker, partial(self._on_readings, inbox))
        if refused := become_punctual():
            log.warning("Adverts may be late under load, refused: %s", ", ".join(refused))

    def _turn(self) -> None:
        self._loop.turn(self)
        self._groups.settle(clock())
        self._outbox.flush()

    @property
    def deadline(self) -> float | None:
        """Return when the first timer here is due."""
        mine = (self._agenda.first(), self._look_again)
        deadlines = (*mine, self._statics.deadline, self._host.pacer.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def advance(self, now: float) -> None:
        """Let every timer that is due fire. All adverts go out before any address is touched."""
        self._statics_due(now)
        self._host.pacer.advance(now)
        if self._look_again is not None and self._look_again <= now:
            self._after_link_change()
        due = self._agenda.due(now)
        for router in due:
            router.advance(now)
        for router in due:
            router.speak()
        for router in due:
            router.carry_out()

    def _statics_due(self, now: float) -> None:
        if self._statics.deadline is not None and self._statics.deadline <= now:
            self._statics.advance(now)
            self._take_static_faults()
            for router in self._routers:
                router.judge(self._readings)

    def _take_static_faults(self) -> None:
        faults = self._statics.faults
        for router in self._routers:
            router.static_fault = faults.get(router.instance.name, "")

    def _remove_strays(self) -> None:
        """What bears our mark and no instance of this configuration has: a former process left it."""
        virtual = {each.name for router in self._routers for each in router.instance.virtual_interfaces}
        remove_strays(self._netlink, self._links, virtual)
        wanted = {
            (entry.device, entry.address)
            for router in self._routers
            for entry in router.instance.moving_addresses
        } | {(entry.device, entry.address) for entry in self._statics.settings.addresses}
        names = {link.index: link.name for link in self._links.values()}
        for found in self._present:
            if found.mark == VRRP_MARK and (names.get(found.index, ""), found.address) not in wanted:
                log.info("removing %s: left by a former configuration", found.address)
                if error := remove(self._netlink, found):
                    log.error("cannot remove %s: %s", found.address, error)

    def _read_monitor(self) -> None:
        try:
            messages = self._monitor.read()
        except NetlinkOverrunError:
            self._links.clear()
            self._links.update(links(self._netlink))
            self._after_link_change()
            return
        changed, settled = False, all(router.settled for router in self._routers)
        sources = {router.machine.own_address for router in self._routers}
        for message in messages:
            if message.type == RTM_DELADDR and (removed := parse_address(message)):
                changed = changed or removed.address in sources
                self._statics.address_removed(removed)
                for router in self._routers:
                    router.address_removed(removed)
            elif message.type in (RTM_DELROUTE, RTM_DELRULE):
                self._statics.route_removed(message)
                for router in self._routers:
                    router.route_removed(message)
            elif message.type == RTM_NEWADDR:
                changed = changed or not settled
            elif link := parse_link(message):
                self._take_link(link, deleted=message.type == RTM_DELLINK)
                changed = True
        if changed:
            self._after_link_change()

    def _take_link(self, link: Link, deleted: bool) -> None:
        for name in [name for name, known in self._links.items() if known.index == link.index]:
            del self._links[name]
        if not deleted:
            self._links[link.name] = link

    def _reopen(self) -> None:
        self._look_again = None if self._crew.reopen() else clock() + _LOOK_AGAIN

    def _after_link_change(self) -> None:
        self._crew.find_sources(addresses(self._netlink))
        self._reopen()
        self._statics.links_changed()
        self._read_interfaces()
        for router in self._routers:
            router.judge(self._readings)

    def _on_order(self) -> None:
        """Carry out what the director wants; that it is gone is for the supervisor."""
        match self._orders.receive():
            case NewConfiguration(config=Config() as config):
                self._adopt(config)
            case YieldMaster(instance=name):
                self._hand_over(name)
            case Resync():
                for router in self._routers:
                    self._outbox.report(router.status())
        if self._orders.closed:
            self._loop.unwatch(self._orders.channel)

    def _hand_over(self, name: str) -> None:
        """Let another router be master of this instance; empty: of all."""
        for router in self._routers:
            if name in ("", router.instance.name) and router.machine.yield_master(clock()):
                log.info("(%s) handing over, as asked", router.instance.name)
                router.carry_out()

    def _adopt(self, config: Config) -> None:
        """Go on with another configuration. One that this host cannot run changes nothing."""
        self._present = addresses(self._netlink)
        try:
            patient = config.vrrp.dynamic_interfaces
            complete = self._crew.adopt(config.instances, self._present, self._readings, patient)
        except (EnvironmentProblemError, OSError) as problem:
            log.error("VRRP goes on as it was: %s", problem)
            return
        self._look_again = None if complete else clock() + _LOOK_AGAIN
        self._statics.adopt(config.static)
        self._take_static_faults()
        self._surround(config.instances, config.vrrp)
        for router in self._routers:
            router.judge(self._readings)

    def _on_readings(self, inbox: Inbox[TrackerValue]) -> None:
        """Take in what the trackers have found out."""
        while (reading := inbox.receive()) is not None:
            self._readings[reading.kind, reading.name] = reading.value
        if inbox.closed:
            self._loop.unwatch(inbox.channel)
        for router in self._routers:
            router.judge(self._readings)

    def _on_answers(self) -> None:
        for answer in self._answers.receive():
            for router in self._routers:
                router.answered(answer)
