# SPDX-License-Identifier: Apache-2.0
"""One connection hop by hop: the sightings at each place, and the changes between them.

Pure: sightings in, hops out. trace/verdict interprets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pointsman.trace.frames import UDP, Frame

DIRECTOR, REAL_SERVER, CLIENT = "director", "real server", "client"
"""Roles that the verdict knows. All others (router, gateway) only forward."""

ADDRESS_FIELDS = ("source", "source_port", "destination", "destination_port")
MAC_FIELDS = ("source_mac", "destination_mac")
DIRECTED_FIELDS = (*MAC_FIELDS, "ttl", "tunnel")
"""Fields that a director may change."""
FIELDS = (*MAC_FIELDS, *ADDRESS_FIELDS, "tunnel", "ttl", "flags", "sequence", "acknowledgement", "length")
NAMES = {"source_mac": "source MAC", "destination_mac": "destination MAC", "ttl": "TTL"}


class Place(msgspec.Struct, frozen=True):
    """Place of a sighting: an interface of a host, and the direction of the frame."""

    host: str
    interface: str
    role: str
    sends: bool
    """True: the host sent it; False: the host received it."""

    def __str__(self) -> str:
        return f"{self.host}:{self.interface} {'sends' if self.sends else 'receives'}"


class Sighting(msgspec.Struct, frozen=True):
    place: Place
    time: float
    """Seconds. All places use the same clock."""
    frame: Frame
    data: bytes = b""
    """The first bytes of the frame, as captured."""


class Change(msgspec.Struct, frozen=True):
    field: str
    before: str
    after: str

    def __str__(self) -> str:
        if self.field == "tunnel":
            return f"in {self.after}" if self.after else f"out of {self.before}"
        return f"{NAMES.get(self.field, self.field.replace('_', ' '))} {self.before} -> {self.after}"


class Hop(msgspec.Struct, frozen=True):
    """A sighting, and the changes since the hop before it."""

    number: int
    place: Place
    elapsed: float
    """Seconds since the first hop of the connection."""
    frame: Frame
    changes: tuple[Change, ...]


class Finding(msgspec.Struct, frozen=True):
    """One sentence of the verdict."""

    ok: bool
    text: str
    note: bool = False
    """The sentence says what this host cannot know. It is neither good nor bad."""


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A packet of the connection that the kernel of a host dropped."""

    host: str
    interface: str
    """Interface on which the packet arrived. Empty for a packet that the host sent."""
    reason: str
    """Name in the kernel: IP_RPFILTER, NETFILTER_DROP ..."""
    function: str
    """Function of the kernel that dropped the packet. May be empty."""
    answer: bool
    """True if the packet was on its way to the client."""
    client: str = ""
    client_port: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Entry of the connection in a director's data plane."""

    director: str
    client: str = ""
    client_port: int = 0
    server: str
    """Address and port of the chosen real server."""
    state: str
    scheduler: str
    persistent: bool
    """True if the service is persistent: a client's template can replace the scheduler."""
    expires: float = 0.0
    """Seconds until the entry expires if no packet arrives."""
    why: str = ""
    """Reason for the choice of this real server. Empty: only the scheduler is known."""
    local: bool = False
    """True if the real server is the director itself."""

    def __str__(self) -> str:
        by = self.why or f"by {self.scheduler}{' or by persistence' if self.persistent else ''}"
        left = f" for {self.expires:.0f} s" if self.expires else ""
        return f"data plane of {self.director}: {self.server}, now {self.state}{left}; chosen: {by}"


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    request: tuple[Hop, ...]
    """Path of the client's SYN."""
    answer: tuple[Hop, ...]
    """Path of the SYN-ACK, or of the RST in its place."""
    findings: tuple[Finding, ...]
    drops: tuple[Drop, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def ok(self) -> bool:
        """True if this is correct direct routing."""
        return all(finding.ok for finding in self.findings)


def changes(before: Frame, after: Frame) -> tuple[Change, ...]:
    """Return the fields in which two sightings of one packet differ."""
    return tuple(
        Change(name, str(getattr(before, name)), str(getattr(after, name)))
        for name in FIELDS
        if getattr(before, name) != getattr(after, name)
    )


def follow(
    sightings: Iterable[Sighting], vip: str, port: int, client_port: int | None = None
) -> tuple[tuple[Hop, ...], tuple[Hop, ...]]:
    """Return the paths of the first SYN to VIP:port (from `client_port`, if given) and of its answer."""
    ordered = sorted(sightings, key=lambda sighting: (sighting.time, not sighting.place.sends))
    request = _request(ordered, vip, port, client_port)
    answer = _answer(ordered, request)
    hops = _hops([*request, *answer], starts=len(request))
    return tuple(hops[: len(request)]), tuple(hops[len(request) :])


def is_opening(frame: Frame, vip: str, port: int) -> bool:
    """True if the frame starts a connection: a SYN to VIP:port, or a datagram to it."""
    begins = frame.protocol == UDP or (frame.flags.startswith("S") and "." not in frame.flags)
    return begins and (frame.destination, frame.destination_port) == (vip, port)


def _request(ordered: Sequence[Sighting], vip: str, port: int, client_port: int | None) -> list[Sighting]:
    """Return each sighting of the client's SYN. A retransmission counts where the first SYN did not
    arrive."""
    opening = next(
        (
            item.frame
            for item in ordered
            if is_opening(item.frame, vip, port) and client_port in (None, item.frame.source_port)
        ),
        None,
    )
    if opening is None:
        return []
    flow = (opening.source, opening.source_port, opening.sequence, opening.length, opening.flags)
    return _first_at_each_place(
        item
        for item in ordered
        if (
            item.frame.source,
            item.frame.source_port,
            item.frame.sequence,
            item.frame.length,
            item.frame.flags,
        )
        == flow
    )


def _answer(ordered: Sequence[Sighting], request: Sequence[Sighting]) -> list[Sighting]:
    """Return each sighting of the reply to that SYN: the first segment that acknowledges it, from any
    sender."""
    if not request:
        return []
    opening = request[0].frame
    expected = (opening.sequence + 1) % (1 << 32)
    replies = [
        item
        for item in ordered
        if (item.frame.destination, item.frame.destination_port) == (opening.source, opening.source_port)
        and (
            opening.protocol == UDP
            or (
                item.frame.acknowledgement == expected
                and ("S" in item.frame.flags or "R" in item.frame.flags)
            )
        )
    ]
    if not replies:
        return []
    first = replies[0].frame
    return _first_at_each_place(item for item in replies if item.frame.sequence == first.sequence)


def _first_at_each_place(sightings: Iterable[Sighting]) -> list[Sighting]:
    seen: dict[Place, Sighting] = {}
    for sighting in sightings:
        seen.setdefault(sighting.place, sighting)
    return list(seen.values())


def _hops(sightings: Sequence[Sighting], starts: int) -> list[Hop]:
    """Number the sightings. The first of the request and the first of the answer have no changes."""
    hops = []
    for number, item in enumerate(sightings):
        first = number in (0, starts)
        hops.append(
            Hop(
                number=number + 1,
                place=item.place,
                elapsed=item.time - sightings[0].time,
                frame=item.frame,
                changes=() if first else changes(sightings[number - 1].frame, item.frame),
            )
        )
    return hops
