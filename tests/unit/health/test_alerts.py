# SPDX-License-Identifier: Apache-2.0
"""Which mails are sent, and their words."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from pointsman.health.alerts import Alert, check_alert, instance_alert, quorum_alert
from pointsman.model.checks import HttpCheck, TcpCheck
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.vrrp import VrrpInstance, VrrpState

ROUTER = "lb-01"
SERVICE = ServiceKey.of(Transport.TCP, ip_address("192.168.100.9"), 80)
SERVER = ServerKey(ip_address("192.168.100.20"), 80)
CHECK = TcpCheck(connect_address=SERVER.address, connect_port=80)
WEB = HttpCheck(connect_address=SERVER.address, connect_port=80)
REASON = "2 of 2 failed: connection refused by 192.168.100.20:80"


def virtual(*, member_mail: bool = True, service_mail: bool = False, alpha: bool = False) -> VirtualServer:
    member = PoolMember(
        server=RealServer(key=SERVER), checks=(CHECK, WEB), smtp_alert=member_mail, alpha=alpha
    )
    return VirtualServer(service=VirtualService(key=SERVICE), members=(member,), smtp_alert=service_mail)


def mail_about(where: VirtualServer, check: str, **result: Any) -> Alert | None:
    return check_alert(ROUTER, where, where.members[0], check, **result)


def test_a_real_server_goes_down_in_keepalived_s_words() -> None:
    alert = mail_about(virtual(), CHECK.identity, up=False, reason=REASON, was_up=True)
    assert alert == Alert(
        "[lb-01] Realserver [192.168.100.20]:tcp:80 of virtual server [192.168.100.9]:tcp:80 - DOWN",
        f"=> TCP CHECK failed on service <=\n{REASON}\n",
    )


def test_every_kind_of_check_has_its_words() -> None:
    alert = mail_about(virtual(), WEB.identity, up=False, reason=REASON, was_up=True)
    assert alert is not None
    assert alert.body == f"=> CHECK failed on service : HTTP request failed <=\n{REASON}\n"


def test_a_real_server_comes_back() -> None:
    alert = mail_about(virtual(), CHECK.identity, up=True, reason="connected", was_up=False)
    assert alert is not None
    assert alert.subject.endswith("[192.168.100.9]:tcp:80 - UP")
    assert alert.body.startswith("=> TCP CHECK succeed on service <=\n")


@pytest.mark.parametrize(
    ("alpha", "was_up", "up", "sent"),
    [
        (False, None, True, False),
        (False, None, False, True),
        (True, None, True, True),
        (True, None, False, False),
        (False, True, True, False),
        (False, False, False, False),
        (False, False, True, True),
        (True, True, False, True),
    ],
)
def test_only_a_change_is_news_and_alpha_decides_what_it_was_before(
    alpha: bool, was_up: bool | None, up: bool, sent: bool
) -> None:
    alert = mail_about(virtual(alpha=alpha), CHECK.identity, up=up, reason="", was_up=was_up)
    assert (alert is not None) is sent


def test_no_mail_about_a_real_server_that_has_them_off_or_is_unknown() -> None:
    silent = virtual(member_mail=False)
    assert mail_about(silent, CHECK.identity, up=False, reason="", was_up=True) is None
    assert mail_about(virtual(), "another check", up=False, reason="", was_up=True) is None


def test_a_service_mails_its_quorum_only_when_asked() -> None:
    lost = "Lost quorum 1-0=1 > 0"
    assert quorum_alert(ROUTER, virtual(), up=False, detail=lost) is None
    assert quorum_alert(ROUTER, virtual(service_mail=True), up=False, detail=lost) == Alert(
        "[lb-01] Virtualserver [192.168.100.9]:tcp:80 - DOWN", "=> Lost quorum 1-0=1 > 0 <=\n"
    )


@pytest.mark.parametrize(
    ("state", "event", "body"),
    [
        (VrrpState.MASTER, "Entering MASTER state", "=> VRRP Instance is now owning VRRP VIPs <=\n"),
        (VrrpState.BACKUP, "Entering BACKUP state", "=> VRRP Instance is no longer owning VRRP VIPs <=\n"),
        (VrrpState.FAULT, "Entering FAULT state", "=> VRRP Instance is no longer owning VRRP VIPs <=\n"),
        (VrrpState.INIT, "Stopping", "=> VRRP Instance is no longer owning VRRP VIPs <=\n"),
    ],
)
def test_an_instance_mails_its_states(state: VrrpState, event: str, body: str) -> None:
    instance = VrrpInstance(name="VI_1_IPv4", interface="ens224", virtual_router_id=51, smtp_alert=True)
    assert instance_alert("lb-01", instance, state, "") == Alert(
        f"[lb-01] VRRP Instance VI_1_IPv4 - {event}", body
    )
    told = instance_alert("lb-01", instance, state, "advert of higher priority")
    assert told is not None
    assert told.body == body + "advert of higher priority\n"


def test_an_instance_without_smtp_alert_is_silent() -> None:
    instance = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51)
    assert instance_alert("lb-01", instance, VrrpState.MASTER, "") is None
