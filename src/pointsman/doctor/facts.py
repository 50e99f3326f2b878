"""What the doctor looks at: a host and what answered its probes, as plain values.

doctor_gather fills them from the kernel, the wire and the director; tests write them down by hand.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable

import msgspec

from pointsman.model.address import Address, Network


class Offloads(msgspec.Struct, frozen=True, kw_only=True):
    """What a network card does to frames before anybody sees them."""

    driver: str = ""
    receive_checksum: bool = False
    """It vouches for checksums; virtio's does so for packets that have none yet (guest_csum)."""
    lro: bool = False
    """It merges received packets (large receive offload)."""


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and states of the host as a whole; None: not known, or the kernel has no such thing."""

    conntrack: int | None = None
    conntrack_limit: int | None = None
    neighbour_overflows: int = 0
    """How often the neighbour table was full since boot."""
    kernel: tuple[int, int] | None = None
    """6.18 as (6, 18)."""
    types: bool | None = None
    """It tells the types of its structs (BTF)."""
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
    """Switched on, and the carrier is there."""
    arp: bool = True
    """It speaks ARP: neither a loopback nor set to NOARP."""
    loopback: bool = False
    mtu: int = 1500
    lower: str = ""
    """Of a macvlan, as use_vmac makes them: the interface below it."""
    tunnel: bool = False
    """Packets of IPv4 come out of tunnels there."""
    xdp: bool = False
    """An XDP program is attached."""
    moving: tuple[Address, ...] = ()
    """Those of its addresses that VRRP has put there."""
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


class FirewallRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of nftables or of iptables-legacy that ends in drop or reject."""

    family: str
    table: str
    chain: str
    handle: int
    hook: str
    """input, output, forward, prerouting, ingress ...; empty in a chain without one."""
    destinations: tuple[Network, ...] = ()
    """Destination addresses it names; empty: any."""
    sources: tuple[Network, ...] = ()
    protocols: tuple[str, ...] = ()
    """Transport protocols it names, by name or number; empty: any."""
    ports: tuple[int, ...] = ()
    """Destination ports it names; empty: any."""
    conditional: bool = False
    """It has matches that we do not understand (rates, states, interfaces ...)."""
    legacy: str = ""
    """The command of iptables-legacy that takes it away; empty for a rule of nftables."""
    spares_icmp: bool = False
    """An earlier rule of its chain lets ICMP's messages about the MTU pass."""

    def __str__(self) -> str:
        kind = "iptables-legacy" if self.legacy else "nftables"
        return f"an {kind} rule in {self._place} ({self.hook})"

    @property
    def removal(self) -> str:
        """The command that takes it away."""
        return self.legacy or f"nft delete rule {self._place} handle {self.handle}"

    @property
    def _place(self) -> str:
        return f"{self.family} {self.table} {self.chain}"


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The host as its kernel describes it."""

    name: str
    cards: tuple[Card, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    settings: dict[str, int] = {}
    """net.ipv4.conf.*, as `eth0.rp_filter`, `all.arp_ignore`."""
    rules: tuple[FirewallRule, ...] = ()
    rules_problem: str = ""
    """Why the firewall could not be read."""
    neighbour_limit: int = 0
    """gc_thresh3; 0: not known here."""
    system: System = System()
    redirected: tuple[Network, ...] = ()
    """Destinations that nftables hands to this host's own address: realserver up --method redirect."""

    undiscovered: tuple[Address, ...] = ()
    """IPv6 addresses that nftables keeps out of neighbour discovery."""

    def card(self, name: str) -> Card | None:
        return next((card for card in self.cards if card.name == name), None)

    def holders(self, address: Address) -> list[Card]:
        """The interfaces that bear this address."""
        return [card for card in self.cards if any(held.ip == address for held in card.addresses)]

    def effective(self, interface: str, setting: str) -> int:
        """What the kernel goes by for arp_ignore, arp_announce and rp_filter: the maximum of `all` and the
        interface (Documentation/networking/ip-sysctl.rst)."""
        return max(self.settings.get(f"all.{setting}", 0), self.settings.get(f"{interface}.{setting}", 0))

    def route(self, address: Address) -> HostRoute | None:
        """The route packets to `address` take, going by the main table alone."""
        fitting = [
            route
            for route in self.routes
            if route.network.version == address.version and address in route.network
        ]
        return max(fitting, key=lambda route: route.network.prefixlen, default=None)

    def links_of(self, address: Address) -> list[Card]:
        """The Ethernets on which `address` is at home: interfaces whose own network holds it."""
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
    """Someone has answered an ARP request of ours."""

    interface: str
    address: Address
    mac: str


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from asking who has what."""

    asked: frozenset[tuple[str, Address]] = frozenset()
    """Interface and address."""
    answers: tuple[Answer, ...] = ()

    def macs(self, address: Address, interface: str | None = None) -> list[str]:
        """Who answered for the address (there)."""
        found = (
            answer.mac
            for answer in self.answers
            if answer.address == address and interface in (None, answer.interface)
        )
        return sorted(set(found))

    def was_asked(self, address: Address) -> bool:
        return any(address == asked for _, asked in self.asked)


class Response(enum.Enum):
    """What a real server said to a TCP SYN for the VIP that was sent to its MAC address."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """RST: the VIP is there, no program listens."""
    SILENT = "silent"


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """Pings of one real server with the DF bit: a small one, and one that fills the interface's MTU."""

    size: int
    """Bytes of the large IP packet."""
    small: bool
    large: bool


class SeenAdvert(msgspec.Struct, frozen=True, kw_only=True):
    """A VRRP advert on the wire."""

    interface: str
    source: Address
    virtual_router_id: int
    priority: int
    addresses: tuple[Address, ...] = ()


class ServerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A real server as the director has it."""

    address: Address
    port: int
    forwarding: str = "Route"
    weight: int | None = 1
    """None: it is configured but taken out of the table."""
    up: bool | None = None
    """The verdict of its checks; None: not checked."""
    reason: str = ""


class ServiceFact(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual service as the director has it."""

    name: str
    """`TCP 192.168.7.33:8000`"""
    option: str
    """How ipvsadm names it: `-t 192.168.7.33:8000`."""
    address: Address | None
    """None: a firewall mark."""
    port: int
    tcp: bool
    servers: tuple[ServerFact, ...] = ()
    managed: bool = True
    """Out of the configuration file; False: put in by hand."""
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
    peers: tuple[Address, ...] = ()
    virtual: tuple[VirtualFact, ...] = ()

    @property
    def addresses(self) -> list[Address]:
        return [item.address for item in self.virtual]


class DirectorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a director."""

    host: Host
    problem: str = ""
    """Why the director could not be asked; then there is nothing below but the host."""
    left_in_force: bool = False
    """No director runs, but one has left its program on the interfaces."""
    services: tuple[ServiceFact, ...] = ()
    instances: tuple[InstanceFact, ...] = ()
    attachments: dict[str, tuple[str, str]] = {}
    """Interface: mode of the program there, and why it is not a better one."""
    standby: tuple[str, ...] = ()
    """Services not in force here while another director holds their VIP, as this one is a real server."""
    problems: tuple[str, ...] = ()
    """What the director itself complains about."""
    connections: int = 0
    connection_limit: int = 0
    exits: dict[str, int] = {}
    answers: Answers = Answers()
    responses: dict[tuple[str, Address], Response] = {}
    """By service name and real server."""
    echoes: dict[Address, Echo] = {}
    adverts: tuple[SeenAdvert, ...] = ()
    clock_jump: float = 0.0
    """Seconds by which the wall clock was moved while all this was gathered."""
    lacks: tuple[str, ...] = ()
    """Capabilities that its process should have and has not."""
    vrrp_is_slow: bool | None = None
    """Its process has no real-time priority; None: there is none."""

    def vips(self) -> list[Address]:
        """The addresses of services and VRRP instances, each once."""
        served = [service.address for service in self.services if service.address is not None]
        moving = [address for instance in self.instances for address in instance.addresses]
        return list(dict.fromkeys([*served, *moving]))

    def real_servers(self) -> list[Address]:
        """The real servers reached by direct routing, each once, those out of the table too."""
        return list(
            dict.fromkeys(
                server.address
                for service in self.services
                for server in service.servers
                if server.forwarding == "Route"
            )
        )


class RealServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a real server."""

    host: Host
    vips: tuple[Address, ...]
    ports: dict[Address, tuple[int, ...]] = {}
    """TCP ports that were named with a VIP."""
    listeners: frozenset[tuple[str, int]] = frozenset()
    """Address and port of TCP sockets that listen; `0.0.0.0` and `::` for any."""
    answers: Answers = Answers()
    segments_in: int = 0
    bad_checksums: int = 0
    """TCP segments since boot, and how many of them had a wrong checksum."""
    fresh_bad_checksums: int = 0
    """Those of them that came while all this was gathered."""
    echoes: dict[Address, Echo] = {}
    """Of the default gateways."""
    clock_jump: float = 0.0


def joined(words: Iterable[object]) -> str:
    """`a, b and c`."""
    texts = [str(word) for word in words]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
