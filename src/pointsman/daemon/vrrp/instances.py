# SPDX-License-Identifier: Apache-2.0
"""All instances of the VRRP process and their receivers. A new configuration changes them in place."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pointsman.control.messages import InstanceChanged
from pointsman.daemon.runtime.event_loop import EventLoop
from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.daemon.vrrp.addresses import Context
from pointsman.daemon.vrrp.advert_receiver import AdvertReceiver
from pointsman.daemon.vrrp.deadlines import DeadlineQueue
from pointsman.daemon.vrrp.instance import InstanceController
from pointsman.daemon.vrrp.preflight import (
    EnvironmentProblemError,
    check_devices,
    check_link_types,
    explain,
    find_own_address,
)
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.daemon.vrrp.trackers import Trackers
from pointsman.model.address import Address
from pointsman.model.diff import is_same
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance
from pointsman.net.addresses import InterfaceAddress
from pointsman.net.neighbour_table import keep_groups
from pointsman.vrrp.admission import ip_protocol

log = logging.getLogger("vrrp")


class InstanceSet:
    """All instances at work. Each calls `report` at a change of state."""

    def __init__(
        self,
        context: Context,
        run_directory: Path,
        loop: EventLoop,
        report: Callable[[InstanceChanged], None],
        deadlines: DeadlineQueue[InstanceController],
    ) -> None:
        self.controllers: list[InstanceController] = []
        """Controllers in the order of the configuration. It is always the same list object."""
        self._context = context
        self._run_directory = run_directory
        self._loop = loop
        self._report = report
        self._deadlines = deadlines
        self._receivers: dict[tuple[str, Address | None, int, int, Address | None], AdvertReceiver] = {}
        """Receivers by interface, source, IP version, protocol and multicast group."""
        self._virtual_addresses: frozenset[Address] = frozenset()
        self._once = LogOnce(log)

    def set_virtual_addresses(self, instances: Iterable[VrrpInstance]) -> None:
        """Set the addresses that move with instances. They are never the source of adverts."""
        self._virtual_addresses = frozenset(
            entry.address for each in instances for entry in each.moving_addresses
        )

    def add(
        self, instance: VrrpInstance, present: list[InterfaceAddress], quiet: bool = False
    ) -> InstanceController:
        """Add a controller for an instance and return it, not started. Raises EnvironmentProblemError.

        `quiet`: a source of adverts is still to come.
        """
        self._check_no_accept([instance])
        own_address = self._own_address(instance, present, quiet)
        receiver = self._find_receiver(instance, own_address)
        if instance.virtual_router_id in receiver.controllers:
            raise EnvironmentProblemError(
                f"virtual_router_id {instance.virtual_router_id} is used twice on {instance.interface}; "
                f"give {instance.name} another one"
            )
        state_file = StateFile(
            self._run_directory, instance.interface, instance.virtual_router_id, instance.family
        )
        controller = InstanceController(
            instance, own_address, self._context, state_file, self._report, self._deadlines
        )
        controller.has_source = _is_here(own_address, present)
        receiver.add(controller)
        self.controllers.append(controller)
        return controller

    def open_sockets(self) -> bool:
        """Open every socket that is not open. Failures are logged. Return True if all sockets are open.

        Adverts get their entries in the neighbour table, so that they do not depend on how full it is.
        """
        problems = [problem for each in self._receivers.values() if (problem := self._open(each))]
        for text in problems:
            self._once.error(text, "%s", text)
        self._once.keep_only(problems)
        entries = {entry for each in self._receivers.values() if (entry := each.group_entry)}
        keep_groups(self._context.netlink, entries)
        return not problems

    def find_sources(self, present: list[InterfaceAddress]) -> None:
        """Find another source address for each instance whose source is not on this host.

        An interface that is down or missing may lose its addresses for a moment: the source stays then.
        """
        for controller in self.controllers:
            before, instance = controller.machine.own_address, controller.instance
            controller.has_source = _is_here(before, present)
            link = self._context.links.get(instance.interface)
            if controller.has_source or instance.source is not None or link is None or not link.running:
                continue
            found = self._own_address(instance, present, quiet=controller.is_waiting_for_address)
            if found != before:
                self._use_receiver(controller, instance, found)
                controller.has_source = not controller.is_waiting_for_address
            if controller.has_source:
                log.info("(%s) source address of adverts is %s now", instance.name, found)

    def reconfigure(
        self,
        instances: Sequence[VrrpInstance],
        present: list[InterfaceAddress],
        trackers: Trackers,
        wait_for_interfaces: bool,
    ) -> bool:
        """Run these instances. Those that are still the same virtual router change in place.

        Removed addresses leave one instance before another acquires any, so that an address can move.
        `wait_for_interfaces`: interfaces may be missing. Return True if all sockets are open.
        Raises EnvironmentProblemError if this host cannot run the instances. Then nothing has changed.
        """
        self._check_no_accept(instances)
        if not wait_for_interfaces:
            known = {controller.instance.interface for controller in self.controllers}
            check_devices((each for each in instances if each.interface not in known), self._context.links)
        check_link_types(instances, self._context.links, self._context.netlink)
        self.set_virtual_addresses(instances)
        wanted = {instance.name: instance for instance in instances}
        for controller in list(self.controllers):
            after = wanted.get(controller.instance.name)
            if after is None or not is_same_virtual_router(controller.instance, after):
                self._remove(controller)
        staying = [(controller, wanted[controller.instance.name]) for controller in self.controllers]
        for controller, after in staying:
            controller.remove_addresses(controller.instance.moving_addresses, after.moving_addresses)
        for controller, after in staying:
            if not is_same(controller.instance, after):
                self._reconfigure_one(controller, after, present)
        known = {controller.instance.name for controller in self.controllers}
        new = [self.add(instance, present) for instance in instances if instance.name not in known]
        self._close_unused()
        complete = self.open_sockets()
        for controller in new:
            controller.start(present, trackers)
        order = [instance.name for instance in instances]
        self.controllers.sort(key=lambda controller: order.index(controller.instance.name))
        return complete

    def set_static_faults(self, faults: Mapping[str, str]) -> None:
        """Set why static objects are missing, by the name of the instance that needs them."""
        for controller in self.controllers:
            controller.static_fault = faults.get(controller.instance.name, "")

    def update_faults(self, trackers: Trackers) -> None:
        """Update fault and priority of every instance."""
        for controller in self.controllers:
            controller.update_faults(trackers)

    def yield_master(self, name: str, now: float) -> None:
        """Let another router become master of this instance. Empty `name`: of all instances."""
        for controller in self.controllers:
            if name in ("", controller.instance.name) and controller.machine.yield_master(now):
                log.info("(%s) yielding mastership on request", controller.instance.name)
                controller.apply_effects()

    def advance(self, now: float) -> None:
        """Fire the timers that are due. All adverts are sent before any address changes."""
        due = self._deadlines.due(now)
        for controller in due:
            controller.advance(now)
        for controller in due:
            controller.send_adverts()
        for controller in due:
            controller.apply_effects()

    def _check_no_accept(self, instances: Iterable[VrrpInstance]) -> None:
        """Raise EnvironmentProblemError if an instance has no_accept and the kernel does not support it."""
        names = [instance.name for instance in instances if not instance.accepts]
        try:
            if names:
                self._context.accept_filter.open()
        except OSError as error:
            text = f"vrrp_instance {names[0]}: no_accept needs nf_tables in the kernel: {explain(error)}"
            raise EnvironmentProblemError(text) from error

    def _find_receiver(self, instance: VrrpInstance, own_address: Address) -> AdvertReceiver:
        source = own_address if instance.unicast_peers else None
        group = instance.multicast_group if source is None else None
        key = (instance.interface, source, instance.family, ip_protocol(instance), group)
        return self._receivers.setdefault(key, AdvertReceiver(*key))

    def _open(self, receiver: AdvertReceiver) -> str:
        """Open the socket of a receiver. Return the error text, or an empty one."""
        try:
            receiver.open(self._context.links.get(receiver.interface), self._loop)
        except OSError as error:
            at = f" for {receiver.source}" if receiver.source else ""
            return f"cannot open a VRRP socket on {receiver.interface}{at}: {explain(error)}"
        return ""

    def _remove(self, controller: InstanceController) -> None:
        log.info("(%s) is no longer in the configuration", controller.instance.name)
        controller.stop(deleted=True)
        self.controllers.remove(controller)
        self._deadlines.remove(controller)
        for receiver in self._receivers.values():
            receiver.remove(controller)

    def _reconfigure_one(
        self, controller: InstanceController, after: VrrpInstance, present: list[InterfaceAddress]
    ) -> None:
        """Change an instance in place. It uses another receiver if its source or its peers need one."""
        log.info("(%s) using a changed configuration", after.name)
        before = controller.instance
        own_address = controller.machine.own_address
        if _sources(before) != _sources(after):
            own_address = self._own_address(after, present)
        self._use_receiver(controller, after, own_address)
        controller.has_source = _is_here(own_address, present)

    def _use_receiver(
        self, controller: InstanceController, after: VrrpInstance, own_address: Address
    ) -> None:
        for receiver in self._receivers.values():
            receiver.remove(controller)
        receiver = self._find_receiver(after, own_address)
        receiver.add(controller)
        self._open(receiver)
        controller.reconfigure(after, own_address)

    def _own_address(
        self, instance: VrrpInstance, present: list[InterfaceAddress], quiet: bool = False
    ) -> Address:
        """Return the source of an instance's adverts, or the unspecified address if there is none.

        `quiet`: do not log that there is none.
        """
        try:
            link = self._context.links.get(instance.interface)
            return find_own_address(instance, link, present, self._virtual_addresses)
        except EnvironmentProblemError as problem:
            if not quiet:
                log.warning("%s", problem)
            return ipaddress.ip_address(bytes(4 if instance.family == 4 else 16))

    def _close_unused(self) -> None:
        for key, receiver in list(self._receivers.items()):
            if not receiver.controllers:
                receiver.open(None, self._loop)
                del self._receivers[key]


def is_same_virtual_router(before: VrrpInstance, after: VrrpInstance) -> bool:
    """True if a changed instance is still the same virtual router, so that it can change in place."""
    return _identity(before) == _identity(after)


def _identity(instance: VrrpInstance) -> tuple[object, ...]:
    owner = instance.priority == OWNER_PRIORITY
    virtual = instance.virtual_interfaces
    return instance.interface, instance.virtual_router_id, instance.family, owner, virtual


def _sources(instance: VrrpInstance) -> tuple[object, ...]:
    """Return the settings that determine the source address."""
    return bool(instance.unicast_peers), instance.source


def _is_here(own_address: Address, present: list[InterfaceAddress]) -> bool:
    return any(found.address == own_address for found in present)
