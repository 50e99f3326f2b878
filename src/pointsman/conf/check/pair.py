# SPDX-License-Identifier: Apache-2.0
"""Check that the files of two directors match. Problems have places of the first file."""

from __future__ import annotations

from pointsman.conf.text.problems import Findings
from pointsman.model.config import Config
from pointsman.model.diff import is_same
from pointsman.model.health import VirtualServer
from pointsman.model.vrrp import PassAuthentication, VrrpInstance, VrrpState

_INSTANCE = len("vrrp_instance")
_SERVICE = len("virtual_server")


def check_pair(own: Config, peer: Config, findings: Findings) -> None:
    """Report the differences between two directors that must be able to replace each other."""
    if own.router_id == peer.router_id:
        text = f"both directors have the router_id {own.router_id}; their mails cannot be told apart"
        findings.warning(None, text, "write the name of each host")
    theirs = {_identity(instance): instance for instance in peer.instances}
    for instance in own.instances:
        other = theirs.pop(_identity(instance), None)
        if other is None:
            text = f"{instance.name}: the peer has no instance with virtual_router_id {_router_id(instance)}"
            findings.error(
                instance.location,
                text,
                "write the same number on both; otherwise the peer cannot take over",
                _INSTANCE,
            )
        else:
            _check_instances(instance, other, findings)
    for other in theirs.values():
        text = f"the peer's {other.name} (virtual_router_id {_router_id(other)}) is missing here"
        findings.error(None, text, "add it here; otherwise this director cannot take over")
    _check_services(own, peer, findings)


def _identity(instance: VrrpInstance) -> tuple[int, int]:
    return instance.virtual_router_id, instance.family


def _router_id(instance: VrrpInstance) -> int:
    return instance.virtual_router_id


def _check_instances(own: VrrpInstance, peer: VrrpInstance, findings: Findings) -> None:
    def error(word: str, text: str, remedy: str) -> None:
        place, width = findings.find_place(own.location, word)
        findings.error(place, f"{own.name}: {text}", remedy, width)

    def warning(word: str, text: str, remedy: str) -> None:
        place, width = findings.find_place(own.location, word)
        findings.warning(place, f"{own.name}: {text}", remedy, width)

    if own.version != peer.version:
        text = f"VRRP version {own.version} here, {peer.version} at the peer: neither hears the other"
        error("version", f"{text}, and both become master", "write the same version on both")
    if own.advert_interval != peer.advert_interval:
        text = f"advert_int {own.advert_interval:g} here, {peer.advert_interval:g} at the peer"
        if own.version == 2:
            text = f"{text}: version 2 drops such adverts, and both become master"
            error("advert_int", text, "write the same interval on both")
        else:
            warning("advert_int", text, "write the same interval on both")
    if _sent_password(own) != _sent_password(peer):
        text = "the authentication differs: both become master"
        error("authentication", text, "write the same authentication block on both")
    if _required_key(own) != _required_key(peer):
        text = "the auth_hmac blocks differ: both become master"
        error("auth_hmac", text, "write the same keys and modes on both")
    if own.multicast_group != peer.multicast_group:
        text = "the multicast groups differ: both become master"
        error("mcast_dst_ip", text, "write the same mcast_dst_ip on both")
    if {each.address for each in own.addresses} != {each.address for each in peer.addresses}:
        ours = _format_list({str(each.address) for each in own.addresses})
        others = _format_list({str(each.address) for each in peer.addresses})
        text = f"virtual addresses {ours} here, {others} at the peer: a switchover would lose some"
        error("virtual_ipaddress", text, "write the same virtual_ipaddress block on both")
    _check_priorities(own, peer, findings)
    _check_paths(own, peer, findings)


def _check_priorities(own: VrrpInstance, peer: VrrpInstance, findings: Findings) -> None:
    if own.priority == peer.priority:
        text = f"{own.name}: both have priority {own.priority}: the higher address decides who is master"
        place, width = findings.find_place(own.location, "priority")
        findings.warning(place, text, "give one of them a lower priority", width)
    if own.initial_state is VrrpState.MASTER and peer.initial_state is VrrpState.MASTER:
        text = f"{own.name}: state MASTER on both"
        place, width = findings.find_place(own.location, "state")
        findings.warning(place, text, "write state BACKUP on the one with the lower priority", width)
    higher, lower = (own, peer) if own.priority > peer.priority else (peer, own)
    contradiction = higher.priority > lower.priority and lower.initial_state is VrrpState.MASTER
    if contradiction and higher.initial_state is VrrpState.BACKUP:
        text = f"{own.name}: the director with the lower priority ({lower.priority}) has state MASTER"
        place, width = findings.find_place(own.location, "state")
        findings.warning(place, text, "write state MASTER on the one with the higher priority", width)


def _check_paths(own: VrrpInstance, peer: VrrpInstance, findings: Findings) -> None:
    if bool(own.unicast_peers) != bool(peer.unicast_peers):
        text = f"{own.name}: unicast on one side, multicast on the other: neither hears the other"
        place, width = findings.find_place(own.location, "unicast_peer")
        findings.error(place, text, "write unicast_peer on both, or on neither", width)
        return
    pairs = (("here", own, peer, "the peer"), ("at the peer", peer, own, "this director"))
    for where, speaker, listener, name in pairs:
        source = listener.unicast_source
        if speaker.unicast_peers and source is not None and source not in speaker.unicast_peers:
            text = f"{own.name}: the unicast_peer block {where} lacks {source}, the unicast_src_ip of {name}"
            place, width = findings.find_place(own.location, "unicast_peer")
            findings.error(place, text, f"add {source}", width)
    for _, speaker, listener, name in pairs:
        if listener.unicast_source is None and speaker.unicast_peers:
            expected = _format_list({str(address) for address in speaker.unicast_peers})
            text = f"{own.name}: {name} has no unicast_src_ip: it may use another address than {expected}"
            place, width = findings.find_place(own.location, "unicast_peer")
            remedy = "write unicast_src_ip on both; a director that is not heard leads to two masters"
            findings.warning(place, text, remedy, width)
    if own.unicast_source is not None and own.unicast_source == peer.unicast_source:
        text = f"{own.name}: both have the unicast_src_ip {own.unicast_source}"
        place, width = findings.find_place(own.location, "unicast_src_ip")
        findings.error(place, text, "write each director's own address", width)


def _sent_password(instance: VrrpInstance) -> object:
    """Return the password as adverts carry it: 8 bytes."""
    found = instance.authentication
    return found.password.encode()[:8] if isinstance(found, PassAuthentication) else found


def _required_key(instance: VrrpInstance) -> object:
    """Return the key that the peer must have, too. None: adverts without it are accepted."""
    settings = instance.hmac
    if settings is None or settings.mode != "enforce":
        return None
    return settings.active_key, settings.key(settings.active_key)


def _check_services(own: Config, peer: Config, findings: Findings) -> None:
    theirs = {virtual.service.key: virtual for virtual in peer.virtual_servers}
    for virtual in own.virtual_servers:
        other = theirs.pop(virtual.service.key, None)
        if other is None:
            text = f"the peer lacks the virtual server {virtual.service.key}: a switchover would end it"
            findings.error(virtual.location, text, "write the same virtual servers on both", _SERVICE)
        else:
            _check_service(virtual, other, findings)
    for key in theirs:
        text = f"the peer's virtual server {key} is missing here: a switchover would end it"
        findings.error(None, text, "write the same virtual servers on both")


def _check_service(own: VirtualServer, peer: VirtualServer, findings: Findings) -> None:
    key = own.service.key
    if not is_same(own.service, peer.service):
        text = f"{key}: scheduler, persistence or flags differ from the peer's"
        findings.warning(
            own.location,
            text,
            "write the same on both; otherwise a switchover sends clients to other real servers",
            _SERVICE,
        )
    ours = {member.server.key: member for member in own.members}
    theirs = {member.server.key: member for member in peer.members}
    for server in ours.keys() ^ theirs.keys():
        missing = "at the peer" if server in ours else "here"
        text = f"{key}: the real server {server} is missing {missing}"
        findings.warning(own.location, text, "write the same real servers on both", _SERVICE)
    for server in ours.keys() & theirs.keys():
        if ours[server].server != theirs[server].server:
            text = f"{key}: weight or thresholds of {server} differ from the peer's"
            findings.warning(ours[server].location, text, "write the same on both", len("real_server"))


def _format_list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
