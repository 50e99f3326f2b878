"""The routers of a VRRP process with their sockets, and how another configuration changes them in place."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import selectors
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pointsman.conf.changes import same
from pointsman.daemon.messages import InstanceChanged
from pointsman.daemon.vrrp_agenda import Agenda
from pointsman.daemon.vrrp_belongings import Host
from pointsman.daemon.vrrp_endpoint import Endpoint
from pointsman.daemon.vrrp_host_checks import (
    EnvironmentProblemError,
    check_devices,
    check_kinds,
    find_own_address,
    way_out,
)
from pointsman.daemon.vrrp_memory import Memory
from pointsman.daemon.vrrp_router import Router
from pointsman.model.address import Address
from pointsman.model.vrrp import OWNER_PRIORITY, VrrpInstance
from pointsman.net.addresses import InterfaceAddress
from pointsman.vrrp.admission import protocol_of
from pointsman.vrrp.tracking import Readings

log = logging.getLogger("vrrp")


class Crew:
    """`routers` is one list for ever; `report` is what each of them calls at a change of state."""

    def __init__(
        self,
        host: Host,
        run_directory: Path,
        selector: selectors.BaseSelector,
        report: Callable[[InstanceChanged], None],
        agenda: Agenda[Router],
    ) -> None:
        self.routers: list[Router] = []
        self._host = host
        self._run_directory = run_directory
        self._selector = selector
        self._report = report
        self._agenda = agenda
        self._endpoints: dict[tuple[str, Address | None, int, int, Address | None], Endpoint] = {}
        self._problems: list[str] = []
        """Of the last time that sockets were opened, told already."""

    def add(self, instance: VrrpInstance, present: list[InterfaceAddress], patient: bool = False) -> Router:
        """A router for this instance, not yet started. Raises EnvironmentProblemError.

        `patient`: without an address to send from it waits, in FAULT, until there is one.
        """
        self._check_shield([instance])
        own_address = self._own_address(instance, present, patient)
        endpoint = self._endpoint(instance, own_address)
        if instance.virtual_router_id in endpoint.routers:
            raise EnvironmentProblemError(
                f"virtual_router_id {instance.virtual_router_id} is used twice on {instance.interface}; "
                f"give {instance.name} another one"
            )
        try:
            self._run_directory.mkdir(parents=True, exist_ok=True)
            memory = Memory(
                self._run_directory, instance.interface, instance.virtual_router_id, instance.family
            )
        except OSError as error:
            text = f"cannot write in {self._run_directory}: {error.strerror}"
            raise EnvironmentProblemError(text) from error
        router = Router(instance, own_address, self._host, memory, self._report, self._agenda)
        endpoint.take(router)
        self.routers.append(router)
        return router

    def open(self) -> None:
        """Have every socket that can be had on the interfaces as they are. Raises EnvironmentProblemError."""
        for endpoint in self._endpoints.values():
            self._open(endpoint)

    def reopen(self) -> bool:
        """The same while running: what is not possible is logged. Whether all was possible."""
        problems: list[str] = []
        for endpoint in list(self._endpoints.values()):
            try:
                self._open(endpoint)
            except EnvironmentProblemError as problem:
                problems.append(str(problem))
        for text in problems:
            if text not in self._problems:
                log.error("%s", text)
        self._problems = problems
        return not problems

    def find_sources(self, present: list[InterfaceAddress]) -> None:
        """Routers that wait for an address to send from look again."""
        for router in self.routers:
            if router.waits_for_address:
                link = self._host.links.get(router.instance.interface)
                with contextlib.suppress(EnvironmentProblemError):
                    self._move(router, router.instance, find_own_address(router.instance, link, present))
                    log.info("(%s) sends from %s now", router.instance.name, router.machine.own_address)

    def adopt(
        self, instances: Sequence[VrrpInstance], present: list[InterfaceAddress], readings: Readings
    ) -> None:
        """Go on with these instances: those that stay the same virtual router change in place.

        Addresses that leave an instance are taken away before others take any, so that one may move.
        Raises EnvironmentProblemError when this host cannot run them; then nothing has changed.
        """
        self._check_shield(instances)
        interfaces = {router.instance.interface for router in self.routers}
        check_devices((each for each in instances if each.interface not in interfaces), self._host.links)
        check_kinds(instances, self._host.links, self._host.netlink)
        for instance in instances:
            self._own_address(instance, present, patient=instance.interface in interfaces)
        wanted = {instance.name: instance for instance in instances}
        for router in list(self.routers):
            after = wanted.get(router.instance.name)
            if after is None or not goes_on(router.instance, after):
                self._dismiss(router)
        staying = [(router, wanted[router.instance.name]) for router in self.routers]
        for router, after in staying:
            router.let_go_of(router.instance.moving_addresses, after.moving_addresses)
        for router, after in staying:
            if not same(router.instance, after):
                self._change(router, after, present)
        known = {router.instance.name for router in self.routers}
        new = [
            self.add(instance, present, instance.interface in interfaces)
            for instance in instances
            if instance.name not in known
        ]
        self._close_unused()
        self.reopen()
        for router in new:
            router.start(present, readings)
        order = [instance.name for instance in instances]
        self.routers.sort(key=lambda router: order.index(router.instance.name))

    def _check_shield(self, instances: Iterable[VrrpInstance]) -> None:
        """Raises EnvironmentProblemError where no_accept cannot be had."""
        names = [instance.name for instance in instances if not instance.accepts]
        try:
            if names:
                self._host.shield.open()
        except OSError as error:
            text = f"vrrp_instance {names[0]}: no_accept needs nf_tables in the kernel: {way_out(error)}"
            raise EnvironmentProblemError(text) from error

    def _endpoint(self, instance: VrrpInstance, own_address: Address) -> Endpoint:
        source = own_address if instance.unicast_peers else None
        group = instance.multicast_group if source is None else None
        key = (instance.interface, source, instance.family, protocol_of(instance), group)
        return self._endpoints.setdefault(key, Endpoint(*key))

    def _open(self, endpoint: Endpoint) -> None:
        try:
            endpoint.open(self._host.links.get(endpoint.interface), self._selector)
        except OSError as error:
            at = f" for {endpoint.source}" if endpoint.source else ""
            text = f"cannot open a VRRP socket on {endpoint.interface}{at}: {way_out(error)}"
            raise EnvironmentProblemError(text) from error

    def _dismiss(self, router: Router) -> None:
        log.info("(%s) is no more in the configuration", router.instance.name)
        router.stop(deleted=True)
        self.routers.remove(router)
        self._agenda.forget(router)
        for endpoint in self._endpoints.values():
            endpoint.release(router)

    def _change(self, router: Router, after: VrrpInstance, present: list[InterfaceAddress]) -> None:
        """In place; another source, or unicast in place of multicast, is another socket."""
        before = router.instance
        own_address = router.machine.own_address
        if _sources(before) != _sources(after):
            own_address = self._own_address(after, present, patient=True)
        self._move(router, after, own_address)

    def _move(self, router: Router, after: VrrpInstance, own_address: Address) -> None:
        for endpoint in self._endpoints.values():
            endpoint.release(router)
        endpoint = self._endpoint(after, own_address)
        endpoint.take(router)
        self._open(endpoint)
        router.adopt(after, own_address)

    def _own_address(self, instance: VrrpInstance, present: list[InterfaceAddress], patient: bool) -> Address:
        """Where its adverts come from; unspecified when a patient one has nothing yet."""
        try:
            return find_own_address(instance, self._host.links.get(instance.interface), present)
        except EnvironmentProblemError as problem:
            if not patient:
                raise
            log.warning("%s", problem)
            return ipaddress.ip_address(bytes(4 if instance.family == 4 else 16))

    def _close_unused(self) -> None:
        for key, endpoint in list(self._endpoints.items()):
            if not endpoint.routers:
                endpoint.open(None, self._selector)
                del self._endpoints[key]


def goes_on(before: VrrpInstance, after: VrrpInstance) -> bool:
    """Whether an instance is still the same virtual router, so that it can change while it works."""
    return _identity(before) == _identity(after)


def _identity(instance: VrrpInstance) -> tuple[object, ...]:
    owner = instance.priority == OWNER_PRIORITY
    virtual = instance.virtual_interfaces
    return instance.interface, instance.virtual_router_id, instance.family, owner, virtual


def _sources(instance: VrrpInstance) -> tuple[object, ...]:
    return bool(instance.unicast_peers), instance.unicast_source, instance.multicast_source
