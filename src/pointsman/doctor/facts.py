# SPDX-License-Identifier: Apache-2.0
"""Facts that the doctor examines: a host and the answers to its probes, as plain values.

doctor/gather fills them from the kernel, the network and the director. Tests write them by hand.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pointsman.control.status import DroppedStatus
from pointsman.doctor.firewall.chain import Ruleset
from pointsman.doctor.firewall.packet import VRRP
from pointsman.model.address import Address, Network
from pointsman.net.other_balancers import OtherBalancer


class Offloads(msgspec.Struct, frozen=True, kw_only=True):
    """Driver and receive offloads of a network interface (ethtool(8))."""

    driver: str = ""
    receive_checksum: bool = False
    """The interface vouches for checksums. virtio_net does so even for packets without one (guest_csum)."""
    lro: bool = False
    """The interface merges received packets (large receive offload)."""


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and states of the whole host. None: unknown, or the kernel does not have it."""

    conntrack: int | None = None
    conntrack_limit: int | None = None
    neighbour_entries: int | None = None
    """Entries of the kernel's neighbour table, which all network namespaces share."""
    neighbour_overflows: int = 0
    """Number of times the neighbour table was full since boot."""
    kernel: tuple[int, int] | None = None
    """6.18 as (6, 18)."""
    types: bool | None = None
    """True if the kernel describes the types of its structs (BTF)."""
    bpf_jit: int | None = None
    clock_synchronised: bool | None = None
    forwarding: int | None = None
    """ip_forward."""
    mtu_probing: int | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface."""

    name: str
    index: int = 0
    mac: str = ""
    """Empty on links without Ethernet addresses."""
    up: bool = True
    """Switched on by the administrator."""
    running: bool = True
    """Switched on, with carrier."""
    arp: bool = True
    """True if the interface uses ARP: it is neither a loopback nor set to NOARP."""
    loopback: bool = False
    mtu: int = 1500
    lower: str = ""
    """Interface below a macvlan (use_vmac creates these). Empty for other interfaces."""
    tunnel: bool = False
    """True if the interface decapsulates IPv4 packets."""
    xdp: bool = False
    """True if an XDP program is attached."""
    moving: tuple[Address, ...] = ()
    """Addresses that VRRP added to the interface."""
    offloads: Offloads = Offloads()
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...] = ()


class HostRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One unicast route of the main table."""

    interface: str
    network: Network
    gateway: Address | None = None
    """None: on-link."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the kernel's neighbour table."""

    interface: str
    address: Address
    mac: str
    """Empty: not resolved."""
    permanent: bool = False


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host, as its kernel describes it."""

    name: str
    cards: tuple[Card, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    settings: dict[str, int] = {}
    """Values of net.ipv4.conf.*, by `eth0.rp_filter`, `all.arp_ignore` and so on."""
    ruleset: Ruleset = ()
    """Chains of the firewall."""
    rules_problem: str = ""
    """Reason why some firewall rules are unknown. Empty: all were read."""
    neighbour_limit: int = 0
    """gc_thresh3. 0: unknown."""
    system: System = System()
    other_balancers: tuple[OtherBalancer, ...] = ()
    """Load balancers beside pointsman: keepalived, IPVS."""
    redirected: tuple[Network, ...] = ()
    """Destinations that nftables redirects to an address of this host (realserver up --method redirect)."""
    undiscovered: tuple[Address, ...] = ()
    """IPv6 addresses for which nftables drops neighbour discovery."""

    def card(self, name: str) -> Card | None:
        return next((card for card in self.cards if card.name == name), None)

    def redirects(self, address: Address) -> bool:
        """True if packets for this address are redirected to an address of this host."""
        return any(address in network for network in self.redirected)

    def holders(self, address: Address) -> list[Card]:
        """Return the interfaces that have this address."""
        return [card for card in self.cards if any(held.ip == address for held in card.addresses)]

    def effective(self, interface: str, setting: str) -> int:
        """Return the value the kernel uses for arp_ignore, arp_announce or rp_filter on an interface.

        The value is the maximum of `all` and the interface (Documentation/networking/ip-sysctl.rst).
        """
        return max(self.settings.get(f"all.{setting}", 0), self.settings.get(f"{interface}.{setting}", 0))

    def route(self, address: Address) -> HostRoute | None:
        """Return the route to `address` by the main table. None: there is none."""
        fitting = [
            route
            for route in self.routes
            if route.network.version == address.version and address in route.network
        ]
        return max(fitting, key=lambda route: route.network.prefixlen, default=None)

    def links_of(self, address: Address) -> list[Card]:
        """Return the Ethernet interfaces whose network contains `address`."""
        return [
            card
            for card in self.cards
            if card.running
            and not card.loopback
            and card.mac
            and any(
                held.network.prefixlen < held.max_prefixlen and address in held.network
                for held in card.addresses
            )
        ]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A reply to an ARP request or to a neighbour solicitation."""

    interface: str
    address: Address
    mac: str


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The questions for MAC addresses that were sent, and the replies."""

    asked: frozenset[tuple[str, Address]] = frozenset()
    """Pairs of interface and address."""
    answers: tuple[Answer, ...] = ()

    def macs(self, address: Address, interface: str | None = None) -> list[str]:
        """Return the MAC addresses that answered for an address, on one interface or on all."""
        found = (
            answer.mac
            for answer in self.answers
            if answer.address == address and interface in (None, answer.interface)
        )
        return sorted(set(found))

    def was_asked(self, address: Address) -> bool:
        return any(address == asked for _, asked in self.asked)


class Response(enum.Enum):
    """Response of a real server to a TCP SYN for the VIP that was sent to its MAC address."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """RST: the host has the VIP, but no program listens."""
    SILENT = "silent"


class Pins(enum.Enum):
    """Lifetime of the pins by which the kernel keeps a director's program and table."""

    UNKNOWN = "unknown"
    HOST = "host"
    """The first process of the host has the same bpf file system mounted."""
    KEPT = "kept"
    """Only a private mount namespace has it, and other processes keep that namespace."""
    FLEETING = "fleeting"
    """Only a private mount namespace has it, and it ends with the director."""


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """Result of two pings with the DF bit: a small one, and one as large as the interface's MTU."""

    size: int
    """Length of the large IP packet in bytes."""
    small: bool
    large: bool


class SeenAdvert(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP advert received from the network."""

    interface: str
    source: Address
    virtual_router_id: int
    priority: int
    addresses: tuple[Address, ...] = ()


class ServerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A real server, as the director reports it."""

    address: Address
    port: int
    forwarding: str = "Route"
    weight: int | None = 1
    """None: configured, but removed from the table."""
    up: bool | None = None
    """Result of the health checks. None: there are no checks."""
    reason: str = ""
    by_hand: str = ""
    """Order of an administrator that counts more than the checks. Empty: there is none."""


class ServiceFact(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual service, as the director reports it."""

    name: str
    """For example `TCP 192.168.7.33:8000`."""
    option: str
    """The service in ipvsadm's options, for example `-t 192.168.7.33:8000`."""
    address: Address | None
    """None: the service is a firewall mark."""
    port: int
    tcp: bool
    servers: tuple[ServerFact, ...] = ()
    managed: bool = True
    """True: the service comes from the configuration file. False: it was added by hand."""
    scheduler: str = ""
    persistence: int | None = None


class VirtualFact(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual address of a VRRP instance."""

    address: Address
    prefix_length: int
    device: str


class InstanceFact(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP instance of the director."""

    name: str
    state: str
    reason: str = ""
    interface: str = ""
    virtual_router_id: int = 0
    priority: int = 0
    advert_interval: float = 1.0
    """Seconds."""
    protocol: int = VRRP
    """IP protocol of its adverts: 112; 51 with auth_type AH."""
    peers: tuple[Address, ...] = ()
    virtual: tuple[VirtualFact, ...] = ()
    dropped: tuple[DroppedStatus, ...] = ()

    @property
    def addresses(self) -> list[Address]:
        return [item.address for item in self.virtual]

    @property
    def version(self) -> int:
        """Version of IP. IPv4 and IPv6 have separate virtual routers with the same numbers."""
        return next((item.version for item in (*self.peers, *self.addresses)), 4)


class DirectorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All facts about a director."""

    host: Host
    problem: str = ""
    """Reason why the director could not be asked. If set, only `host` and `left_in_force` are filled."""
    left_in_force: bool = False
    """No director runs, but the program of an earlier one is still attached."""
    services: tuple[ServiceFact, ...] = ()
    instances: tuple[InstanceFact, ...] = ()
    pins: Pins = Pins.UNKNOWN
    bfd_neighbours: tuple[Address, ...] = ()
    attachments: dict[str, tuple[str, str]] = {}
    """Mode of the attached program by interface, and the reason why the mode is not a better one."""
    standby: tuple[str, ...] = ()
    """Services that are inactive here, because another director holds their VIP and this one is a real
    server.
    """
    problems: tuple[str, ...] = ()
    """Problems that the director itself reports."""
    connections: int = 0
    """Entries in the connection table of IPv4."""
    connection_limit: int = 0
    exits: dict[str, int] = {}
    answers: Answers = Answers()
    responses: dict[tuple[str, Address], Response] = {}
    """By service name and real server."""
    echoes: dict[Address, Echo] = {}
    adverts: tuple[SeenAdvert, ...] = ()
    sources: dict[Address, Address] = {}
    """Source that the kernel chooses for packets to each real server."""
    fresh_overflows: int = 0
    """Number of times the neighbour table was full while the facts were gathered."""
    clock_jump: float = 0.0
    """Seconds by which the wall clock jumped while the facts were gathered."""
    lacks: tuple[str, ...] = ()
    """Capabilities that the director's process needs and does not have."""
    vrrp_is_slow: bool | None = None
    """The VRRP process has no real-time priority. None: there is no VRRP process."""

    def vips(self) -> list[Address]:
        """Return the addresses of services and VRRP instances without duplicates."""
        served = [service.address for service in self.services if service.address is not None]
        moving = [address for instance in self.instances for address in instance.addresses]
        return list(dict.fromkeys([*served, *moving]))

    def real_servers(self) -> list[Address]:
        """Return the real servers with direct routing without duplicates, also those with weight None."""
        return list(
            dict.fromkeys(
                server.address
                for service in self.services
                for server in service.servers
                if server.forwarding == "Route"
            )
        )


class ListenQueue(NamedTuple):
    """A listening socket and its connections that the program has not accepted yet."""

    address: str
    """0.0.0.0 and :: stand for any address."""
    port: int
    waiting: int
    backlog: int
    """Connections that may wait (listen(2)); with more the kernel drops SYNs and ACKs."""


class RealServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All facts about a real server."""

    host: Host
    vips: tuple[Address, ...]
    ports: dict[Address, tuple[int, ...]] = {}
    """TCP ports that the user gave with a VIP."""
    listeners: frozenset[tuple[str, int]] = frozenset()
    """Address and port of listening TCP sockets. `0.0.0.0` and `::` stand for any address."""
    full_listen_queues: tuple[ListenQueue, ...] = ()
    """Listening sockets whose accept queue was full all the time while the facts were gathered."""
    fresh_listen_overflows: int = 0
    """Connections that found a full accept queue while the facts were gathered."""
    answers: Answers = Answers()
    segments_in: int = 0
    bad_checksums: int = 0
    """TCP segments with a wrong checksum since boot, out of `segments_in`."""
    fresh_bad_checksums: int = 0
    """TCP segments with a wrong checksum that arrived while the facts were gathered."""
    echoes: dict[Address, Echo] = {}
    """Pings of the default gateways."""
    fresh_overflows: int = 0
    """Number of times the neighbour table was full while the facts were gathered."""
    clock_jump: float = 0.0


def join_words(words: Iterable[object]) -> str:
    """Return a list in words: `a, b and c`."""
    texts = [str(word) for word in words]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
