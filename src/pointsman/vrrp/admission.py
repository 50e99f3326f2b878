# SPDX-License-Identifier: Apache-2.0
"""Decide which received packets an instance accepts, with the reason for each rejection."""

from __future__ import annotations

import enum
import hmac

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import AhAuthentication, HmacAuthentication, PassAuthentication, VrrpInstance
from pointsman.packets.errors import WireError
from pointsman.vrrp.ah import AH_PROTOCOL, AhCodec, AuthenticationError
from pointsman.vrrp.hmac_auth import TRAILER_SIZE, ReplayError, SignatureError, Signer, Verifier
from pointsman.vrrp.wire import (
    AH,
    MAX_ADDRESSES,
    NO_AUTHENTICATION,
    PASS,
    PROTOCOL,
    TTL,
    Advert,
    ChecksumForm,
    Datagram,
    advert_size,
    decode,
    password_bytes,
)


class Drop(enum.Enum):
    """Reason why a packet is dropped. Values are names of counters."""

    MALFORMED = "malformed"
    TTL = "ttl"
    VERSION = "version"
    VIRTUAL_ROUTER_ID = "virtual_router_id"
    AUTHENTICATION_TYPE = "authentication_type"
    PASSWORD = "password"
    INTERVAL = "advert_interval"
    MODE = "multicast_unicast_mode"
    UNICAST_SOURCE = "unicast_source"
    SIGNATURE = "signature"
    REPLAY = "replay"
    OWN_PACKET = "own_packet"


class Oddity(enum.Enum):
    """Anomaly of an accepted advert. Values are names of counters."""

    ADDRESS_LIST = "address_list"
    UNKNOWN_PEER = "unknown_peer"


class Verdict(msgspec.Struct, frozen=True):
    """Result for a packet. Exactly one of `advert` and `drop` is set. `text` explains a drop or an
    anomaly."""

    advert: Advert | None = None
    drop: Drop | None = None
    oddities: tuple[Oddity, ...] = ()
    text: str = ""


class Guard:
    """Authentication state of an instance: it depends on earlier packets."""

    def __init__(self, instance: VrrpInstance) -> None:
        authentication = instance.authentication
        is_ah = isinstance(authentication, AhAuthentication) and instance.version == 2
        self.wrapper = AhCodec(password_bytes(authentication.password)) if authentication and is_ah else None
        self.signer = Signer(instance.hmac) if instance.hmac else None
        self.verifier = Verifier(instance.hmac) if instance.hmac else None
        self._must_be_signed = instance.hmac is not None and instance.hmac.mode == "enforce"
        self._patience = _patience(instance)

    @property
    def is_stateless(self) -> bool:
        """True if the same packet always has the same result."""
        return self.wrapper is None and self.verifier is None

    def find_forgery(
        self, header: bytes, payload: bytes, source: bytes, now: float, wall: float
    ) -> Drop | None:
        """Return the reason to drop a packet that is not authentic. None: it is, or needs no authentication.

        Nothing is stored. It takes some microseconds, so that no flood keeps authentic adverts out.
        """
        try:
            if self.wrapper is not None:
                self.wrapper.inspect(header, payload, source, now, self._patience)
            elif self.verifier is not None:
                extra = len(payload) - advert_size(payload, len(source))
                if extra not in (0, TRAILER_SIZE):
                    return Drop.MALFORMED
                if extra or self._must_be_signed:
                    self.verifier.inspect(payload, source, wall)
        except WireError:
            return Drop.MALFORMED
        except ReplayError:
            return Drop.REPLAY
        except (AuthenticationError, SignatureError):
            return Drop.SIGNATURE
        return None


def admit(
    instance: VrrpInstance,
    own_address: Address,
    datagram: Datagram,
    guard: Guard | None = None,
    now: float = 0.0,
    wall: float = 0.0,
) -> Verdict:
    """Judge a packet by keepalived's rules (vrrp.c, vrrp_check_packet).

    A different interval is a reason to drop in version 2 (RFC 3768 section 7.1). A different list of
    addresses is not: a drop would make two masters, which is worse.
    """
    try:
        datagram, advert = _open(instance, guard or Guard(instance), datagram, now)
        if refusal := _refusal(instance, own_address, datagram, advert):
            drop, text = refusal
            return Verdict(drop=drop, text=f"from {datagram.source}: {text}")
        if instance.hmac is not None and guard is not None:
            _verify(instance.hmac, guard, datagram, wall)
    except WireError as error:
        return Verdict(drop=Drop.MALFORMED, text=f"from {datagram.source}: {error}")
    except AuthenticationError as error:
        return Verdict(drop=Drop.SIGNATURE, text=f"from {datagram.source}: {error}")
    except ReplayError as error:
        return Verdict(drop=Drop.REPLAY, text=f"from {datagram.source}: {error}")
    except SignatureError as error:
        return Verdict(drop=Drop.SIGNATURE, text=f"from {datagram.source}: {error}")
    return _accept(instance, datagram, advert)


def _open(instance: VrrpInstance, guard: Guard, datagram: Datagram, now: float) -> tuple[Datagram, Advert]:
    """Decode the advert, out of its authentication header if there is one.

    Raises WireError and AuthenticationError.
    """
    if guard.wrapper is not None:
        payload = guard.wrapper.open(
            datagram.header, datagram.payload, datagram.source, now, _patience(instance)
        )
        datagram = msgspec.structs.replace(datagram, payload=payload)
    extra = 0
    if instance.hmac is not None and len(datagram.payload) > _advert_size(datagram):
        extra = TRAILER_SIZE
    return datagram, decode(datagram.payload, datagram.source, datagram.destination, extra)


def _advert_size(datagram: Datagram) -> int:
    return advert_size(datagram.payload, len(datagram.source.packed))


def _patience(instance: VrrpInstance) -> float:
    """Seconds of silence after which a sender may begin its sequence anew (AH)."""
    return instance.down_timer_adverts * instance.advert_interval


def _verify(settings: HmacAuthentication, guard: Guard, datagram: Datagram, wall: float) -> None:
    """Check the HMAC of a packet. Raises SignatureError."""
    bare = len(datagram.payload) == _advert_size(datagram)
    if bare and settings.mode != "enforce":
        return
    if bare:
        raise SignatureError("an advert without HMAC")
    assert guard.verifier is not None
    guard.verifier.check(datagram.payload, datagram.source, wall)


def _refusal(
    instance: VrrpInstance, own_address: Address, datagram: Datagram, advert: Advert
) -> tuple[Drop, str] | None:
    multicast = datagram.destination.is_multicast
    if multicast and datagram.ttl != TTL:
        return Drop.TTL, f"TTL {datagram.ttl}, but a multicast advert must have {TTL}"
    for limits in instance.ttl_limits:
        if datagram.source == limits.peer and not limits.low <= datagram.ttl <= limits.high:
            return Drop.TTL, f"TTL {datagram.ttl}, but this peer has {limits.low} to {limits.high}"
    if advert.virtual_router_id != instance.virtual_router_id:
        return (
            Drop.VIRTUAL_ROUTER_ID,
            f"virtual_router_id {advert.virtual_router_id}, expecting {instance.virtual_router_id}",
        )
    if advert.version != instance.version:
        return Drop.VERSION, f"VRRP version {advert.version}, expecting {instance.version}"
    if advert.version == 2 and (refusal := _version_2_refusal(instance, advert)):
        return refusal
    if multicast == bool(instance.unicast_peers):
        expected = "unicast" if instance.unicast_peers else "multicast"
        return Drop.MODE, f"sent to {datagram.destination}, expecting {expected}"
    unknown = bool(instance.unicast_peers) and datagram.source not in instance.unicast_peers
    if instance.check_unicast_source and unknown:
        return Drop.UNICAST_SOURCE, "the sender is not in unicast_peer (check_unicast_src)"
    if datagram.source == own_address:
        return Drop.OWN_PACKET, "the sender has this router's own address"
    return None


def _version_2_refusal(instance: VrrpInstance, advert: Advert) -> tuple[Drop, str] | None:
    kind = authentication_type(instance)
    if advert.authentication_type != kind:
        return (
            Drop.AUTHENTICATION_TYPE,
            f"received auth type {advert.authentication_type}, expecting {kind}",
        )
    if isinstance(instance.authentication, PassAuthentication) and not hmac.compare_digest(
        advert.password, password_bytes(instance.authentication.password)
    ):
        return Drop.PASSWORD, "received an invalid password (auth_pass)"
    if advert.interval != interval_in_centiseconds(instance):
        return (
            Drop.INTERVAL,
            f"advertisement interval {advert.interval / 100:g} s, expecting {instance.advert_interval:g} s",
        )
    return None


def _accept(instance: VrrpInstance, datagram: Datagram, advert: Advert) -> Verdict:
    oddities: list[Oddity] = []
    texts: list[str] = []
    if set(advert.addresses) != set(advertised_addresses(instance)):
        oddities.append(Oddity.ADDRESS_LIST)
        texts.append("the virtual addresses in it differ from virtual_ipaddress here")
    if instance.unicast_peers and datagram.source not in instance.unicast_peers:
        oddities.append(Oddity.UNKNOWN_PEER)
        texts.append("the sender is not in unicast_peer")
    text = f"from {datagram.source}: {'; '.join(texts)}" if texts else ""
    return Verdict(advert=advert, oddities=tuple(oddities), text=text)


def authentication_type(instance: VrrpInstance) -> int:
    """Return the authentication type of version 2 adverts."""
    if instance.version != 2 or instance.authentication is None:
        return NO_AUTHENTICATION
    return PASS if isinstance(instance.authentication, PassAuthentication) else AH


def ip_protocol(instance: VrrpInstance) -> int:
    """Return the IP protocol number of adverts."""
    return AH_PROTOCOL if authentication_type(instance) == AH else PROTOCOL


def interval_in_centiseconds(instance: VrrpInstance) -> int:
    """Return the advert interval in centiseconds, as sent. Version 2 has whole seconds only."""
    if instance.version == 2:
        return max(1, round(instance.advert_interval)) * 100
    return max(1, round(instance.advert_interval * 100))


def choose_checksum_form(instance: VrrpInstance, heard: ChecksumForm | None) -> ChecksumForm:
    """Return the checksum form of the next advert: the one that the others use, else the configured one."""
    if heard is not None:
        return heard
    if instance.old_unicast_checksum and instance.unicast_peers:
        return ChecksumForm.GROUP
    return ChecksumForm.BARE if instance.checksum_without_pseudo_header else ChecksumForm.PSEUDO_HEADER


def advertised_addresses(instance: VrrpInstance) -> tuple[Address, ...]:
    """Return the virtual addresses for an advert: those of its family, as many as fit."""
    addresses = [entry.address for entry in instance.addresses]
    family = [address for address in addresses if address.version == instance.family]
    return tuple(family[:MAX_ADDRESSES])


def build_advert(instance: VrrpInstance, priority: int, heard: ChecksumForm | None = None) -> Advert:
    """Return the advert of this instance. `heard`: checksum form of the others, if known."""
    authentication = instance.authentication if instance.version == 2 else None
    password = authentication.password if isinstance(authentication, PassAuthentication) else ""
    return Advert(
        version=instance.version,
        virtual_router_id=instance.virtual_router_id,
        priority=priority,
        interval=interval_in_centiseconds(instance),
        addresses=advertised_addresses(instance),
        authentication_type=authentication_type(instance),
        password=password_bytes(password),
        form=choose_checksum_form(instance, heard),
    )
