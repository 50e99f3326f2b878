"""Which received packets an instance listens to, and why it does not listen to the others."""

from __future__ import annotations

import enum
import hmac

import msgspec

from pointsman.model.address import Address
from pointsman.model.vrrp import VrrpInstance
from pointsman.vrrp.wire import (
    MAX_ADDRESSES,
    NO_AUTHENTICATION,
    PASS,
    TTL,
    Advert,
    ChecksumForm,
    Datagram,
    WireError,
    decode,
    password_bytes,
)


class Drop(enum.Enum):
    """Why a packet is dropped; the values are names of counters."""

    MALFORMED = "malformed"
    TTL = "ttl"
    VERSION = "version"
    VIRTUAL_ROUTER_ID = "virtual_router_id"
    AUTHENTICATION_TYPE = "authentication_type"
    PASSWORD = "password"
    INTERVAL = "advert_interval"
    MODE = "multicast_unicast_mode"
    UNICAST_SOURCE = "unicast_source"
    OWN_PACKET = "own_packet"


class Oddity(enum.Enum):
    """What is strange about an advert that is listened to all the same; the values are names of counters."""

    ADDRESS_LIST = "address_list"
    UNKNOWN_PEER = "unknown_peer"


class Verdict(msgspec.Struct, frozen=True):
    """Exactly one of `advert` and `drop` is set; `text` explains a drop or an oddity to the administrator."""

    advert: Advert | None = None
    drop: Drop | None = None
    oddities: tuple[Oddity, ...] = ()
    text: str = ""


def admit(instance: VrrpInstance, own_address: Address, datagram: Datagram) -> Verdict:
    """Decide about a packet, with keepalived's rules (vrrp.c, vrrp_check_packet).

    An interval that differs is a reason to drop in version 2 (RFC 3768 section 7.1). A different list of
    addresses is not: to drop it would make two masters, which is worse than any list.
    """
    try:
        advert = decode(datagram.payload, datagram.source, datagram.destination)
    except WireError as error:
        return Verdict(drop=Drop.MALFORMED, text=f"from {datagram.source}: {error}")
    if refusal := _refusal(instance, own_address, datagram, advert):
        drop, text = refusal
        return Verdict(drop=drop, text=f"from {datagram.source}: {text}")
    return _accept(instance, datagram, advert)


def _refusal(
    instance: VrrpInstance, own_address: Address, datagram: Datagram, advert: Advert
) -> tuple[Drop, str] | None:
    multicast = datagram.destination.is_multicast
    if multicast and datagram.ttl != TTL:
        return Drop.TTL, f"TTL {datagram.ttl}, but a multicast advert must have {TTL}"
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
    kind = PASS if instance.authentication else NO_AUTHENTICATION
    if advert.authentication_type != kind:
        return (
            Drop.AUTHENTICATION_TYPE,
            f"received auth type {advert.authentication_type}, expecting {kind}",
        )
    if instance.authentication and not hmac.compare_digest(
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


def interval_in_centiseconds(instance: VrrpInstance) -> int:
    """The advert interval as it travels; version 2 knows whole seconds only."""
    if instance.version == 2:
        return max(1, round(instance.advert_interval)) * 100
    return max(1, round(instance.advert_interval * 100))


def advert_form(instance: VrrpInstance, heard: ChecksumForm | None) -> ChecksumForm:
    """The checksum of our next advert: in the form that the others use, else as configured."""
    if heard is not None:
        return heard
    return ChecksumForm.BARE if instance.checksum_without_pseudo_header else ChecksumForm.PSEUDO_HEADER


def advertised_addresses(instance: VrrpInstance) -> tuple[Address, ...]:
    """The virtual addresses that go into an advert: of the advert's own family, as many as it carries."""
    addresses = [entry.address for entry in instance.addresses]
    family = [address for address in addresses if address.version == instance.family]
    return tuple(family[:MAX_ADDRESSES])


def own_advert(instance: VrrpInstance, priority: int, heard: ChecksumForm | None = None) -> Advert:
    """The advert that this instance sends. `heard`: the checksum form of the others, if one is known."""
    authentication = instance.authentication if instance.version == 2 else None
    return Advert(
        version=instance.version,
        virtual_router_id=instance.virtual_router_id,
        priority=priority,
        interval=interval_in_centiseconds(instance),
        addresses=advertised_addresses(instance),
        authentication_type=PASS if authentication else NO_AUTHENTICATION,
        password=password_bytes(authentication.password if authentication else ""),
        form=advert_form(instance, heard),
    )
