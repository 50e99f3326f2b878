"""The routers of a VRRP process with their sockets, and how another configuration changes them in place."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence
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
    check_kinds,
    find_own_address,
    way_out,
)
from pointsman.daemon.vrrp.state_file import StateFile
from pointsman.model.address import Address
from pointsman.model.diff import is_same
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance
from pointsman.net.addresses import InterfaceAddress
from pointsman.vrrp.admission import ip_protocol
from pointsman.vrrp.tracking import Readings

log = logging.getLogger("vrrp")


class InstanceSet:
    """`routers` is one list for ever; `report` is what each of them calls at a change of state."""

    def __init__(
        self,
        host: Context,
        run_directory: Path,
        loop: EventLoop,
        report: Callable[[InstanceChanged], None],
        agenda: DeadlineQueue[InstanceController],
    ) -> None:
        self.routers: list[InstanceController] = []
        self._host = host
        self._run_directory = run_directory
        self._loop = loop
        self._report = report
        self._agenda = agenda
        self._endpoints: dict[tuple[str, Address | None, int, int, Address | None], AdvertReceiver] = {}
        self._virtual: frozenset[Address] = frozenset()
        self._once = LogOnce(log)

    def expect(self, instances: Iterable[VrrpInstance]) -> None:
        """What moves with these instances is the source of nobody's adverts, also when it is here."""
        self._virtual = frozenset(entry.address for each in instances for entry in each.moving_addresses)

    def add(self, instance: VrrpInstance, present: list[InterfaceAddress]) -> InstanceController:
        """A router for this instance, not yet started. Raises EnvironmentProblemError."""
        self._check_shield([instance])
        own_address = self._own_address(instance, present)
        endpoint = self._endpoint(instance, own_address)
        if instance.virtual_router_id in endpoint.routers:
            raise EnvironmentProblemError(
                f"virtual_router_id {instance.virtual_router_id} is used twice on {instance.interface}; "
                f"give {instance.name} another one"
            )
        try:
            self._run_directory.mkdir(parents=True, exist_ok=True)
            memory = StateFile(
                self._run_directory, instance.interface, instance.virtual_router_id, instance.family
            )
        except OSError as error:
            text = f"cannot write in {self._run_directory}: {error.strerror}"
            raise EnvironmentProblemError(text) from error
        router = InstanceController(instance, own_address, self._host, memory, self._report, self._agenda)
        router.source_here = _is_here(own_address, present)
        endpoint.take(router)
        self.routers.append(router)
        return router

    def reopen(self) -> bool:
        """Have every socket that can be had now; what is not possible is logged. Whether all was possible."""
        problems = [problem for each in self._endpoints.values() if (problem := self._open(each))]
        for text in problems:
            self._once.error(text, "%s", text)
        self._once.keep_only(problems)
        return not problems

    def find_sources(self, present: list[InterfaceAddress]) -> None:
        """Routers whose source of adverts is not there, or not any more, look for another one."""
        for router in self.routers:
            before, instance = router.machine.own_address, router.instance
            router.source_here = _is_here(before, present)
            if router.source_here or instance.source is not None:
                continue
            found = self._own_address(instance, present, quiet=router.waits_for_address)
            if found != before:
                self._move(router, instance, found)
                router.source_here = not router.waits_for_address
                log.info("(%s) sends from %s now", instance.name, found)

    def adopt(
        self,
        instances: Sequence[VrrpInstance],
        present: list[InterfaceAddress],
        readings: Readings,
        patient: bool,
    ) -> bool:
        """Go on with these instances: those that stay the same virtual router change in place.

        Addresses that leave an instance are taken away before others take any, so that one may move.
        Whether every socket could be had (`reopen`). `patient`: interfaces may be missing.
        Raises EnvironmentProblemError when this host cannot run them; then nothing has changed.
        """
        self._check_shield(instances)
        if not patient:
            known = {router.instance.interface for router in self.routers}
            check_devices((each for each in instances if each.interface not in known), self._host.links)
        check_kinds(instances, self._host.links, self._host.netlink)
        self.expect(instances)
        wanted = {instance.name: instance for instance in instances}
        for router in list(self.routers):
            after = wanted.get(router.instance.name)
            if after is None or not goes_on(router.instance, after):
                self._dismiss(router)
        staying = [(router, wanted[router.instance.name]) for router in self.routers]
        for router, after in staying:
            router.let_go_of(router.instance.moving_addresses, after.moving_addresses)
        for router, after in staying:
            if not is_same(router.instance, after):
                self._change(router, after, present)
        known = {router.instance.name for router in self.routers}
        new = [self.add(instance, present) for instance in instances if instance.name not in known]
        self._close_unused()
        complete = self.reopen()
        for router in new:
            router.start(present, readings)
        order = [instance.name for instance in instances]
        self.routers.sort(key=lambda router: order.index(router.instance.name))
        return complete

    def _check_shield(self, instances: Iterable[VrrpInstance]) -> None:
        """Raises EnvironmentProblemError where no_accept cannot be had."""
        names = [instance.name for instance in instances if not instance.accepts]
        try:
            if names:
                self._host.shield.open()
        except OSError as error:
            text = f"vrrp_instance {names[0]}: no_accept needs nf_tables in the kernel: {way_out(error)}"
            raise EnvironmentProblemError(text) from error

    def _endpoint(self, instance: VrrpInstance, own_address: Address) -> AdvertReceiver:
        source = own_address if instance.unicast_peers else None
        group = instance.multicast_group if source is None else None
        key = (instance.interface, source, instance.family, ip_protocol(instance), group)
        return self._endpoints.setdefault(key, AdvertReceiver(*key))

    def _open(self, endpoint: AdvertReceiver) -> str:
        """Have its socket. What is in the way; empty: nothing."""
        try:
            endpoint.open(self._host.links.get(endpoint.interface), self._loop)
        except OSError as error:
            at = f" for {endpoint.source}" if endpoint.source else ""
            return f"cannot open a VRRP socket on {endpoint.interface}{at}: {way_out(error)}"
        return ""

    def _dismiss(self, router: InstanceController) -> None:
        log.info("(%s) is no more in the configuration", router.instance.name)
        router.stop(deleted=True)
        self.routers.remove(router)
        self._agenda.forget(router)
        for endpoint in self._endpoints.values():
            endpoint.release(router)

    def _change(
        self, router: InstanceController, after: VrrpInstance, present: list[InterfaceAddress]
    ) -> None:
        """In place; another source, or unicast in place of multicast, is another socket."""
        before = router.instance
        own_address = router.machine.own_address
        if _sources(before) != _sources(after):
            own_address = self._own_address(after, present)
        self._move(router, after, own_address)
        router.source_here = _is_here(own_address, present)

    def _move(self, router: InstanceController, after: VrrpInstance, own_address: Address) -> None:
        for endpoint in self._endpoints.values():
            endpoint.release(router)
        endpoint = self._endpoint(after, own_address)
        endpoint.take(router)
        self._open(endpoint)
        router.adopt(after, own_address)

    def _own_address(
        self, instance: VrrpInstance, present: list[InterfaceAddress], quiet: bool = False
    ) -> Address:
        """Where its adverts come from; unspecified as long as there is nothing; `quiet`: unsaid."""
        try:
            link = self._host.links.get(instance.interface)
            return find_own_address(instance, link, present, self._virtual)
        except EnvironmentProblemError as problem:
            if not quiet:
                log.warning("%s", problem)
            return ipaddress.ip_address(bytes(4 if instance.family == 4 else 16))

    def _close_unused(self) -> None:
        for key, endpoint in list(self._endpoints.items()):
            if not endpoint.routers:
                endpoint.open(None, self._loop)
                del self._endpoints[key]


def goes_on(before: VrrpInstance, after: VrrpInstance) -> bool:
    """Whether an instance is still the same virtual router, so that it can change while it works."""
    return _identity(before) == _identity(after)


def _identity(instance: VrrpInstance) -> tuple[object, ...]:
    owner = instance.priority == OWNER_PRIORITY
    virtual = instance.virtual_interfaces
    return instance.interface, instance.virtual_router_id, instance.family, owner, virtual


def _sources(instance: VrrpInstance) -> tuple[object, ...]:
    return bool(instance.unicast_peers), instance.source


def _is_here(own_address: Address, present: list[InterfaceAddress]) -> bool:
    return any(found.address == own_address for found in present)
