# SPDX-License-Identifier: Apache-2.0
"""Reports of the last adverts to the director: only what is new, seldom, and never in the way of states."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address

from pointsman.control.messages import AdvertHeard, AdvertsHeard, InstanceChanged, vrrp_report_decoder
from pointsman.daemon.vrrp.reports import AdvertReports, LastAdvert, ReportChannel
from pointsman.model.vrrp import VrrpInstance

PEER = ip_address("10.9.0.2")


@dataclass
class Receiver:
    instance: VrrpInstance
    last_advert: LastAdvert | None = None


def receiver(name: str) -> Receiver:
    return Receiver(VrrpInstance(name=name, interface="eth0", virtual_router_id=7, addresses=()))


def test_only_what_is_new_is_reported_and_at_most_twice_a_second() -> None:
    one, two = receiver("one"), receiver("two")
    adverts = AdvertReports()
    assert adverts.take(0.0, [one, two]) == []
    one.last_advert = PEER, 150, 0.6
    assert adverts.take(0.4, [one, two]) == []
    assert adverts.take(0.6, [one, two]) == [AdvertHeard("one", "10.9.0.2", 150, 0.6)]
    assert adverts.take(1.2, [one, two]) == []
    two.last_advert = PEER, 90, 1.5
    assert adverts.take(1.8, [one, two]) == [AdvertHeard("two", "10.9.0.2", 90, 1.5)]
    adverts.forget()
    assert len(adverts.take(1.8, [one, two])) == 2, "the director has just started"


def test_adverts_wait_for_states_and_states_never_for_them() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        reports = ReportChannel(ours, None)
        heard = [AdvertHeard(f"instance {number}", "10.9.0.2", 150, 1.0) for number in range(300)]
        reports.send_heard(heard)
        messages = [vrrp_report_decoder.decode(theirs.recv(1 << 20)) for _ in range(3)]
        assert [len(each.adverts) for each in messages if isinstance(each, AdvertsHeard)] == [128, 128, 44]
        for _ in range(1000):  # nobody reads
            reports.send_heard(heard[:100])
        reports.send_report(InstanceChanged("VI_1", "MASTER", 100, "", holds_addresses=True))
        theirs.setblocking(False)
        last = []
        for _ in range(2000):
            reports.flush()
            try:
                last.append(vrrp_report_decoder.decode(theirs.recv(1 << 20)))
            except BlockingIOError:
                break
        assert isinstance(last[-1], InstanceChanged)
