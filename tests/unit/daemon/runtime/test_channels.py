# SPDX-License-Identifier: Apache-2.0
"""Messages are read from a channel as what they are; what is none is dropped and logged once."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from pointsman.control import messages
from pointsman.daemon.director.passive_check import PassiveCheck
from pointsman.daemon.director.services import ServiceIndex
from pointsman.daemon.runtime.channels import MAX_DROPPED, Channels, Inbox
from pointsman.daemon.runtime.config_history import send_config
from pointsman.dataplane.memory import MemoryDataPlane
from pointsman.health.passive_check import Suspicion
from pointsman.model.checks import MiscCheck, TcpCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command

VIP = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
WEB = ServerKey(ip_address("192.0.2.20"), 80)
Pair = tuple[socket.socket, socket.socket]
log = logging.getLogger("test")


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        yield here, there


def orders(channel: socket.socket) -> Inbox[messages.CheckerOrder]:
    return Inbox(channel, messages.checker_order_decoder, "director", log)


def test_messages_come_in_their_order_and_then_nothing_without_waiting(pair: Pair) -> None:
    sent: list[messages.CheckerOrder] = [
        messages.Resync(),
        messages.CheckNow(VIP, WEB),
        messages.TellServers("VS up"),
    ]
    for message in sent:
        pair[0].send(messages.encode(message))
    inbox = orders(pair[1])
    assert [inbox.receive() for _ in range(4)] == [*sent, None]
    assert not inbox.closed


def test_a_new_configuration_bears_its_configuration(pair: Pair) -> None:
    config = Config(router_id="lb-02")
    send_config(pair[0], config, rollback=True)
    assert orders(pair[1]).receive() == messages.NewConfiguration(rollback=True, config=config)


@pytest.mark.parametrize(
    "strange",
    [
        b"?",
        b"\xff garbage",
        b'{"type":"Boom"}',
        b'{"type":"CheckNow","service":7}',
        messages.encode(messages.YieldMaster("VI_1")),
        messages.encode(messages.NewConfiguration()),
    ],
    ids=["a byte", "no JSON", "no such message", "wrong fields", "not for it", "nothing comes with it"],
)
def test_what_is_no_message_for_this_process_is_dropped_and_logged_once(
    pair: Pair, caplog: pytest.LogCaptureFixture, strange: bytes
) -> None:
    inbox = orders(pair[1])
    for _ in range(3):
        pair[0].send(strange)
    pair[0].send(messages.encode(messages.Resync()))
    assert inbox.receive() == messages.Resync()
    (line,) = caplog.messages
    assert line.startswith("dropped an invalid message of the director: ")


def test_a_configuration_that_cannot_be_read_is_dropped_and_always_logged(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with Path("/dev/null").open("rb") as nothing:
            order = messages.encode(messages.NewConfiguration())
            socket.send_fds(pair[0], [order], [nothing.fileno()])
    assert orders(pair[1]).receive() is None
    assert [line.split(",")[0] for line in caplog.messages] == ["cannot decode the new configuration"] * 2


def test_one_call_drops_no_more_than_so_many(pair: Pair) -> None:
    inbox = orders(pair[1])
    for _ in range(MAX_DROPPED):
        pair[0].send(b"?")
    pair[0].send(messages.encode(messages.Resync()))
    assert inbox.receive() is None
    assert inbox.receive() == messages.Resync()


def test_the_end_of_a_channel_is_told(pair: Pair) -> None:
    pair[0].send(messages.encode(messages.Resync()))
    pair[0].close()
    inbox = orders(pair[1])
    assert inbox.receive() == messages.Resync() and not inbox.closed
    assert inbox.receive() is None and inbox.closed


def test_nobody_reports_in_the_name_of_another_process(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    state = messages.InstanceChanged("VI_1", "MASTER", 100, "", holds_addresses=True)
    result = messages.CheckResult(VIP, WEB, "1f", up=False, reason="refused")
    pair[0].send(messages.encode(state))
    pair[0].send(messages.encode(result))
    checker = Inbox(pair[1], messages.result_decoder, "checker", log)
    assert checker.receive() == result
    pair[0].send(messages.encode(result))
    pair[0].send(messages.encode(state))
    vrrp = Inbox(pair[1], messages.vrrp_report_decoder, "VRRP process", log)
    assert vrrp.receive() == state
    assert [line.split(":")[0] for line in caplog.messages] == [
        "dropped an invalid message of the checker",
        "dropped an invalid message of the VRRP process",
    ]


@pytest.mark.parametrize(
    ("check", "asked"),
    [
        (TcpCheck(connect_address=WEB.address, connect_port=80), "checker"),
        (MiscCheck(command=Command(("/bin/true",))), "scripts"),
    ],
)
def test_a_suspicion_goes_to_the_process_that_has_the_check(
    monkeypatch: pytest.MonkeyPatch, check: TcpCheck | MiscCheck, asked: str
) -> None:
    pairs = {
        name: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for name in Channels.__struct_fields__
    }
    member = PoolMember(server=RealServer(key=WEB), checks=(check,))
    service = VirtualServer(service=VirtualService(key=VIP), members=(member,))
    passive_check = PassiveCheck(MemoryDataPlane())
    monkeypatch.setattr(
        passive_check._suspicions, "find_suspects", lambda _now, _signs: [Suspicion(VIP, WEB, "resets")]
    )
    index = ServiceIndex(Config(router_id="lb-01", virtual_servers=(service,)))
    passive_check.check_suspects(0.0, index, Channels(**{name: pair[0] for name, pair in pairs.items()}))
    heard = {name: orders(pair[1]).receive() for name, pair in pairs.items()}
    assert {name for name, order in heard.items() if order is not None} == {asked}
    assert heard[asked] == messages.CheckNow(VIP, WEB)
    for pair in pairs.values():
        for end in pair:
            end.close()
