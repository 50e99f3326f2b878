"""The VRRP process: adverts, virtual addresses and gratuitous ARP of all instances, and nothing else.

It has a process of its own because nothing may delay it, and a loop of its own because of one rule: whatever
arrived before a timer was due is read before that timer fires. A stalled backup thus makes no false master.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from pointsman.daemon.messages import InstanceChanged, encode
from pointsman.daemon.realtime import become_punctual
from pointsman.daemon.vrrp_memory import Memory
from pointsman.daemon.vrrp_router import Host, Router
from pointsman.model.vrrp import VrrpInstance
from pointsman.net.addresses import (
    RTM_DELADDR,
    VRRP_MARK,
    InterfaceAddress,
    addresses,
    parse_address,
    remove,
)
from pointsman.net.advert_socket import AdvertSocket
from pointsman.net.links import RTM_DELLINK, Link, links, parse_link
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket
from pointsman.vrrp.wire import WireError, decode_ipv4

EXIT_OK, EXIT_ENVIRONMENT = 0, 3

_MOST_PENDING = 1024
"""Messages kept while the director does not read; the oldest go first, it can ask again."""
_LONGEST_QUESTION = 256

log = logging.getLogger("vrrp")


class EnvironmentProblemError(Exception):
    """This host lacks what the configuration needs; the text says what and what to do."""


def clock() -> float:
    """Seconds since boot, suspension included: the `now` of every machine here."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(instances: tuple[VrrpInstance, ...], channel: socket.socket, run_directory: Path) -> int:
    """Run the instances until SIGTERM. The exit code: 0 stopped in order, 3 this host lacks something.

    `channel` (SOCK_SEQPACKET) carries an InstanceChanged for every instance at the start and at every change;
    a datagram of any content received on it asks for all of them again.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    try:
        process = VrrpProcess(instances, channel, run_directory)
    except EnvironmentProblemError as problem:
        print(f"pointsman vrrp: {problem}", file=sys.stderr)
        return EXIT_ENVIRONMENT
    process.run()
    return EXIT_OK


class Endpoint:
    """One socket and the routers that share it, by virtual router id."""

    def __init__(self, interface: str, source: IPv4Address | None) -> None:
        self.interface = interface
        self.source = source
        """None: multicast."""
        self.routers: dict[int, Router] = {}
        self.unknown = 0
        """Packets for virtual router ids that nobody here has; other routers may well use them."""
        self.malformed = 0
        self._socket: AdvertSocket | None = None
        self._index = 0

    def open(self, link: Link | None, selector: selectors.BaseSelector) -> None:
        """Have a socket on the interface as it is now (it may have been made anew). Raises OSError."""
        if link is not None and self._socket is not None and link.index == self._index:
            return
        if self._socket is not None:
            selector.unregister(self._socket)
            self._socket.close()
            self._share(None)
        if link is not None:
            opened = AdvertSocket(link, self.source)
            selector.register(opened, selectors.EVENT_READ, self.drain)
            self._index = link.index
            self._share(opened)

    def _share(self, advert_socket: AdvertSocket | None) -> None:
        self._socket = advert_socket
        for router in self.routers.values():
            router.socket = advert_socket

    def drain(self) -> None:
        """Hand every waiting packet to its router."""
        if self._socket is None:
            return
        for arrival in self._socket.receive():
            try:
                datagram = decode_ipv4(arrival.packet)
            except WireError:
                self.malformed += 1
                continue
            router = self.routers.get(datagram.payload[1]) if len(datagram.payload) > 1 else None
            if router is None:
                self.unknown += 1
            else:
                router.received(datagram, arrival.time)


class VrrpProcess:
    """The loop. Making it checks everything and changes nothing; raises EnvironmentProblemError."""

    def __init__(
        self, instances: Sequence[VrrpInstance], channel: socket.socket, run_directory: Path
    ) -> None:
        self._channel = channel
        self._pending: collections.deque[InstanceChanged] = collections.deque(maxlen=_MOST_PENDING)
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        try:
            # Listening begins before the first look, so that no change falls between the two.
            self._monitor = NetlinkMonitor(NetlinkMonitor.LINK | NetlinkMonitor.IPV4_ADDRESS)
            self._netlink = NetlinkSocket()
            self._links = links(self._netlink)
            self._present = addresses(self._netlink)
            self._host = Host(self._netlink, self._links, clock)
        except OSError as error:
            raise EnvironmentProblemError(
                f"cannot use netlink and packet sockets: {_way_out(error)}"
            ) from error
        check_devices(instances, self._links)
        self._endpoints: dict[tuple[str, IPv4Address | None], Endpoint] = {}
        self._routers = [self._router(instance, run_directory) for instance in instances]
        for endpoint in self._endpoints.values():
            self._open(endpoint)

    def run(self) -> None:
        """Start every instance, work until SIGTERM or SIGINT, stop every instance."""
        self._prepare()
        self._remove_strays()
        for router in self._routers:
            router.start(self._present)
        while not self._stopping:
            self._turn()
        for router in self._routers:
            router.stop()
        self._flush()
        log.info("Stopped")

    def _router(self, instance: VrrpInstance, run_directory: Path) -> Router:
        own_address = find_own_address(instance, self._links[instance.interface], self._present)
        source = own_address if instance.unicast_peers else None
        key = (instance.interface, source)
        endpoint = self._endpoints.setdefault(key, Endpoint(*key))
        if instance.virtual_router_id in endpoint.routers:
            raise EnvironmentProblemError(
                f"virtual_router_id {instance.virtual_router_id} is used twice on {instance.interface}; "
                f"give {instance.name} another one"
            )
        try:
            run_directory.mkdir(parents=True, exist_ok=True)
            memory = Memory(run_directory, instance.interface, instance.virtual_router_id)
        except OSError as error:
            raise EnvironmentProblemError(f"cannot write in {run_directory}: {error.strerror}") from error
        router = Router(instance, own_address, self._host, memory, self._report)
        endpoint.routers[instance.virtual_router_id] = router
        return router

    def _open(self, endpoint: Endpoint) -> None:
        try:
            endpoint.open(self._links.get(endpoint.interface), self._selector)
        except OSError as error:
            at = f" for {endpoint.source}" if endpoint.source else ""
            text = f"cannot open a VRRP socket on {endpoint.interface}{at}: {_way_out(error)}"
            raise EnvironmentProblemError(text) from error

    def _prepare(self) -> None:
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_signal)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: _empty(wake_read))
        self._selector.register(self._monitor, selectors.EVENT_READ, self._read_monitor)
        self._selector.register(self._channel, selectors.EVENT_READ, self._on_channel)
        if refused := become_punctual():
            log.warning("Adverts may be late under load, refused: %s", ", ".join(refused))

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _turn(self) -> None:
        """Wait, read, let timers fire. `now` is taken before the last reading: see the top of the file."""
        self._handle(self._timeout())
        now = clock()
        due = [router for router in self._routers if router.deadline is not None and router.deadline <= now]
        if due:
            self._handle(0)
            for router in self._routers:
                router.advance(now)
        self._flush()

    def _timeout(self) -> float | None:
        deadlines = [router.deadline for router in self._routers]
        first = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if first is None else max(0.0, first - clock())

    def _handle(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()

    def _remove_strays(self) -> None:
        """Addresses with our mark that no instance of this configuration has: a former process left them."""
        wanted = {
            (entry.device, entry.address) for router in self._routers for entry in router.instance.addresses
        }
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
        changed = False
        for message in messages:
            if message.type == RTM_DELADDR and (removed := parse_address(message)):
                for router in self._routers:
                    router.address_removed(removed)
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

    def _after_link_change(self) -> None:
        for endpoint in self._endpoints.values():
            try:
                self._open(endpoint)
            except EnvironmentProblemError as problem:
                log.error("%s", problem)
        for router in self._routers:
            router.link_changed()

    def _on_channel(self) -> None:
        """The director asks for all states; or it is gone, which is the supervisor's business."""
        try:
            asked = self._channel.recv(_LONGEST_QUESTION, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            asked = b""
        if not asked:
            self._selector.unregister(self._channel)
            return
        for router in self._routers:
            self._report(router.status())

    def _report(self, message: InstanceChanged) -> None:
        self._pending.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send what is pending; never waits for the director. What does not fit goes with a later turn."""
        while self._pending:
            try:
                self._channel.send(encode(self._pending[0]), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                pass  # nobody is there to be told
            self._pending.popleft()


def check_devices(instances: Iterable[VrrpInstance], present: dict[str, Link]) -> None:
    """Raises EnvironmentProblemError for the first instance that this host cannot run."""
    for instance in instances:
        for device in (instance.interface, *(entry.device for entry in instance.addresses)):
            if device not in present:
                known = ", ".join(sorted(present))
                raise EnvironmentProblemError(
                    f"vrrp_instance {instance.name}: interface {device} does not exist (there are: {known})"
                )
        if any(entry.address.version == 6 for entry in instance.addresses):
            raise EnvironmentProblemError(
                f"vrrp_instance {instance.name}: IPv6 virtual addresses are not supported yet; remove them"
            )


def find_own_address(instance: VrrpInstance, link: Link, present: Iterable[InterfaceAddress]) -> IPv4Address:
    """The source of this instance's adverts: as configured, else the first real address of its interface.

    Raises EnvironmentProblemError.
    """
    configured = instance.unicast_source if instance.unicast_peers else instance.multicast_source
    if isinstance(configured, IPv4Address):
        return configured
    virtual = {entry.address for entry in instance.addresses}
    for found in present:
        if (
            found.index == link.index
            and isinstance(found.address, IPv4Address)
            and found.address not in virtual
        ):
            return found.address
    raise EnvironmentProblemError(
        f"vrrp_instance {instance.name}: interface {link.name} has no IPv4 address to send adverts from; "
        "give it one, or write unicast_src_ip or mcast_src_ip"
    )


def _way_out(error: OSError) -> str:
    """The error, and what to do about the frequent ones."""
    if isinstance(error, PermissionError):
        return "permission denied; VRRP needs root, or CAP_NET_ADMIN and CAP_NET_RAW"
    if error.errno == errno.EADDRNOTAVAIL:
        return "it is no address of this host; correct unicast_src_ip or add the address"
    return error.strerror or str(error)


def _empty(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 512):
            pass
