# SPDX-License-Identifier: Apache-2.0
"""Parse one line of ipvsadm's language into a Command (ipvsadm(8), version 1.31).

The checks have ipvsadm's order, so that a line with two mistakes gets the same error.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from pointsman.lvs.ipvsadm import grammar, usage, values
from pointsman.lvs.ipvsadm.commands import (
    Apply,
    Command,
    ConnectionListing,
    DaemonListing,
    Listing,
    Restore,
    Save,
    Show,
    TimeoutListing,
    View,
)
from pointsman.lvs.ipvsadm.errors import REFUSED_BY_KERNEL, CommandError, try_help
from pointsman.lvs.ipvsadm.popt import Given, OptionReader
from pointsman.model.address import Address
from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    SetTimeouts,
    ZeroCounters,
)
from pointsman.model.service import (
    Forwarding,
    RealServer,
    ServerKey,
    ServiceKey,
    Transport,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)

VIEWS = {
    "stats": View.STATS,
    "rate": View.RATE,
    "thresholds": View.THRESHOLDS,
    "persistent-conn": View.PERSISTENT,
    "tun-info": View.TUNNEL,
}
"""Options of -L. If there are several, the first in this order is used."""

_TUNNEL_CHECKSUMS = {f"tun-{checksum.value}": checksum for checksum in TunnelChecksum}
_TUNNEL_OPTIONS = {
    TunnelType.IPIP: frozenset[str](),
    TunnelType.GUE: frozenset({"tun-port", *_TUNNEL_CHECKSUMS}),
    TunnelType.GRE: frozenset({"tun-nocsum", "tun-csum"}),
}


def parse(words: Sequence[str], resolver: values.Resolver) -> Command:
    """Parse the words after `ipvsadm`. Raises CommandError with ipvsadm's message and exit code."""
    if not words:
        return Listing()
    reader = OptionReader(words, grammar.OPTIONS)
    options = iter(reader)
    try:
        first = next(options, None)
    except CommandError:
        raise try_help() from None
    if first is None or first.option.long not in grammar.COMMANDS:
        raise try_help()
    line = _Line(first, resolver)
    if line.command == "help":
        return Show(usage.VERSION + usage.HELP)
    if line.command == "version":
        return Show(usage.VERSION)
    for given in options:
        line.read(given)
    line.finish(reader.leftover)
    return line.to_command()


class _Line:
    """Parser state of a line."""

    def __init__(self, first: Given, resolver: values.Resolver) -> None:
        self.command = grammar.COMMANDS[first.option.long]
        self.kinds: set[str] = set()
        self._resolver = resolver
        self._transport: Transport | None = None
        self._address: Address | None = None
        self._port = 0
        self._fwmark = 0
        self._ipv6 = False
        self._scheduler = ""
        self._flags: frozenset[str] = frozenset()
        self._flags_text: str | None = None
        self._persistence: int | None = None
        self._prefix: int | None = None
        self._server: ServerKey | None = None
        self._forwarding = Forwarding.ROUTE
        self._numbers = {"weight": 1, "u-threshold": 0, "l-threshold": 0}
        self._tunnel_type = TunnelType.IPIP
        self._tunnel_port = 0
        self._timeouts: list[int] = []
        self._check_daemon_state(first.value)

    def read(self, given: Given) -> None:
        """Read one option. Raises CommandError."""
        long = given.option.long
        if long in grammar.COMMANDS:
            raise CommandError(f"invalid option `{given.word}'")
        if long not in grammar.UNCOUNTED:
            kind = grammar.kind_of(given.option)
            if kind in self.kinds:
                raise CommandError(f"multiple '{kind}' options specified")
            self.kinds.add(kind)
        if long in _READERS:
            _READERS[long](self, given.value or "")
        elif long == "persistent":
            given_timeout = None if given.value is None else values.timeout(given.value, 1)
            self._persistence = given_timeout or values.DEFAULT_PERSISTENCE

    def finish(self, leftover: Sequence[str]) -> None:
        """Check the whole line. Raises CommandError."""
        if self.command == "set":
            if len(leftover) < 3:
                raise CommandError("--set option requires 3 timeout values")
            self._timeouts = [values.timeout(text, 0) for text in leftover[:3]]
            leftover = leftover[3:]
        if leftover:
            raise CommandError(f"unexpected argument {leftover[0]}")
        if self._flags_text is not None:
            self._flags = values.scheduler_flags(self._flags_text, self._scheduler)
        grammar.check_together(self.command, self.kinds)

    def to_command(self) -> Command:
        """Return the command of the line. Raises CommandError."""
        match self.command:
            case "add-service" | "edit-service":
                return self._service_command()
            case "add-server" | "edit-server":
                return self._server_command()
            case "delete-service":
                return Apply(DeleteService(self._key()))
            case "delete-server":
                return Apply(DeleteServer(self._key(), self._server_key()))
            case "flush":
                return Apply(Flush())
            case "zero":
                return Apply(ZeroCounters(self._key() if "service-address" in self.kinds else None))
            case "set":
                return Apply(SetTimeouts(*self._timeouts))
            case "list":
                return self._list_command()
            case "save":
                return Save("numeric" in self.kinds)
            case "restore":
                return Restore()
            case _:
                raise self._no_daemon()

    def _service_command(self) -> Command:
        key = self._key()
        if not key.fwmark and not key.port and self._persistence is None:
            raise CommandError("Zero port specified for non-persistent service")
        if "ops" in self.kinds and not key.fwmark and key.transport is not Transport.UDP:
            raise CommandError("One-Packet Scheduling is only for UDP virtual services")
        if "pe" in self.kinds:
            raise CommandError("Scheduler or persistence engine not found", REFUSED_BY_KERNEL)
        service = VirtualService(
            key=key,
            scheduler=self._scheduler or "wlc",
            persistence=self._persistence,
            persistence_prefix=None if self._persistence is None else self._prefix,
            one_packet="ops" in self.kinds,
            flags=self._flags,
        )
        return Apply(AddService(service) if self.command == "add-service" else EditService(service))

    def _server_command(self) -> Command:
        service, key = self._key(), self._server_key()
        if self._forwarding is not Forwarding.TUNNEL:
            if (key.address.version == 6) != service.ipv6:
                raise CommandError("Different address family is allowed only for tunneling servers")
            if any(kind.startswith("tun-") for kind in self.kinds):
                raise CommandError("Tunnel options conflict with forward method")
        server = RealServer(
            key=key,
            forwarding=self._forwarding,
            tunnel=self._tunnel(),
            weight=self._numbers["weight"],
            upper_threshold=self._numbers["u-threshold"],
            lower_threshold=self._numbers["l-threshold"],
        )
        return Apply((AddServer if self.command == "add-server" else EditServer)(service, server))

    def _tunnel(self) -> Tunnel:
        """Return the tunnel's type and options, checked in ipvsadm's order (tunnel_opt_check())."""
        called, checksum = self._tunnel_type.value, ""
        for kind in ("tun-port", *_TUNNEL_CHECKSUMS):
            allowed = kind in _TUNNEL_OPTIONS[self._tunnel_type]
            if kind == "tun-port" and allowed and kind not in self.kinds:
                raise CommandError(f"You need to supply the '{kind}' option for the '{called}' tunnel type")
            if kind not in self.kinds:
                continue
            if not allowed:
                raise CommandError(f"Illegal '{kind}' option with the '{called}' tunnel type")
            if checksum:
                both = f"'{kind}' conflicts with the '{checksum}' option"
                raise CommandError(f"The option {both} in the '{called}' tunnel type")
            checksum = kind if kind in _TUNNEL_CHECKSUMS else ""
        return Tunnel(
            self._tunnel_type, self._tunnel_port, _TUNNEL_CHECKSUMS.get(checksum, TunnelChecksum.NONE)
        )

    def _list_command(self) -> Command:
        grammar.check_list_views(self.kinds)
        numeric = "numeric" in self.kinds
        if "connection" in self.kinds:
            return ConnectionListing(numeric=numeric, engine_data="persistent-conn" in self.kinds)
        if "timeout" in self.kinds:
            return TimeoutListing()
        if "daemon" in self.kinds:
            return DaemonListing()
        return Listing(
            view=next((view for kind, view in VIEWS.items() if kind in self.kinds), View.TABLE),
            service=self._key() if "service-address" in self.kinds else None,
            numeric=numeric,
            exact="exact" in self.kinds,
            sort="nosort" not in self.kinds,
        )

    def _key(self) -> ServiceKey:
        if self._fwmark:
            return ServiceKey.mark(self._fwmark, self._ipv6)
        assert self._transport is not None and self._address is not None
        return ServiceKey.of(self._transport, self._address, self._port)

    def _server_key(self) -> ServerKey:
        """Return the real server. Without port translation its port is the service's, whatever was given."""
        assert self._server is not None
        translated = self._forwarding is Forwarding.MASQ or self._fwmark or self.command == "delete-server"
        return self._server if translated else ServerKey(self._server.address, self._port)

    def _check_daemon_state(self, state: str | None) -> None:
        if self.command == "start-daemon" and state not in ("master", "backup"):
            raise CommandError("illegal start-daemon parameter specified")
        if self.command == "stop-daemon" and state not in ("master", "backup"):
            raise CommandError("illegal start_daemon specified")

    def _no_daemon(self) -> CommandError:
        if self.command == "stop-daemon":
            return CommandError("No daemon is running", REFUSED_BY_KERNEL)
        return CommandError(
            "this data plane has no connection synchronization daemon; established connections"
            " do not move with the virtual address",
            REFUSED_BY_KERNEL,
        )

    def read_service(self, transport: Transport, text: str) -> None:
        self._transport = transport
        found = values.endpoint(text, transport, self._resolver)
        if found is None:
            raise CommandError("illegal virtual server address[:port] specified")
        self._address = found.address
        self._port = found.port or 0
        self._set_family(found.address.version == 6)

    def read_fwmark(self, text: str) -> None:
        self._fwmark = values.fwmark(text)
        self._transport = Transport.TCP

    def read_ipv6(self, _: str) -> None:
        if not self._fwmark:
            raise CommandError("-6 used before -f\n")
        self._set_family(True)

    def read_netmask(self, text: str) -> None:
        if not self._ipv6:
            prefix = values.prefix_of_mask(text)
            self._prefix = None if prefix == ipaddress.IPV4LENGTH else prefix
            return
        number = values.number(text, 1, ipaddress.IPV6LENGTH)
        if number is None:
            raise CommandError("illegal ipv6 netmask specified")
        self._prefix = None if number == ipaddress.IPV6LENGTH else number

    def read_scheduler(self, text: str) -> None:
        self._scheduler = text

    def read_flags(self, text: str) -> None:
        self._flags_text = text

    def read_server(self, text: str) -> None:
        found = values.endpoint(text, self._transport, self._resolver)
        if found is None:
            raise CommandError("illegal real server address[:port] specified")
        self._server = ServerKey(found.address, self._port if found.port is None else found.port)

    def read_forwarding(self, method: Forwarding) -> None:
        self._forwarding = method

    def read_number(self, kind: str, called: str, text: str) -> None:
        number = values.number(text, 0, values.MAX_INT)
        if number is None:
            raise CommandError(f"illegal {called} specified")
        self._numbers[kind] = number

    def read_tunnel_type(self, text: str) -> None:
        try:
            self._tunnel_type = TunnelType(text)
        except ValueError:
            raise CommandError("illegal tunnel type specified") from None

    def read_tunnel_port(self, text: str) -> None:
        number = values.number(text, 1, 65535)
        if number is None:
            raise CommandError("illegal tunnel port specified")
        self._tunnel_port = number

    def check_number(self, called: str, low: int, high: int, text: str) -> None:
        """Check the value of an option that has no effect here."""
        if values.number(text, low, high) is None:
            raise CommandError(f"illegal {called} specified")

    def _set_family(self, ipv6: bool) -> None:
        self._ipv6 = ipv6
        if ipv6:
            self._prefix = None


_READERS: dict[str, Callable[[_Line, str], None]] = {
    "tcp-service": lambda line, text: line.read_service(Transport.TCP, text),
    "udp-service": lambda line, text: line.read_service(Transport.UDP, text),
    "sctp-service": lambda line, text: line.read_service(Transport.SCTP, text),
    "fwmark-service": _Line.read_fwmark,
    "ipv6": _Line.read_ipv6,
    "netmask": _Line.read_netmask,
    "scheduler": _Line.read_scheduler,
    "sched-flags": _Line.read_flags,
    "real-server": _Line.read_server,
    "gatewaying": lambda line, _: line.read_forwarding(Forwarding.ROUTE),
    "ipip": lambda line, _: line.read_forwarding(Forwarding.TUNNEL),
    "masquerading": lambda line, _: line.read_forwarding(Forwarding.MASQ),
    "weight": lambda line, text: line.read_number("weight", "weight", text),
    "u-threshold": lambda line, text: line.read_number("u-threshold", "u_threshold", text),
    "l-threshold": lambda line, text: line.read_number("l-threshold", "l_threshold", text),
    "tun-type": _Line.read_tunnel_type,
    "tun-port": _Line.read_tunnel_port,
    "syncid": lambda line, text: line.check_number("syncid", 0, 255, text),
    "sync-maxlen": lambda line, text: line.check_number("sync-maxlen", 1, 65535 - 28, text),
    "mcast-port": lambda line, text: line.check_number("mcast-port", 1, 65535, text),
    "mcast-ttl": lambda line, text: line.check_number("mcast-ttl", 1, 255, text),
}
