# SPDX-License-Identifier: Apache-2.0
"""Mails against a real SMTP server on loopback."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import socket
import time
from typing import Any

import pytest
from tests.support.mailbox import DOWN, HOST, Mailbox, config, with_mailbox
from tests.support.until import DEADLINE

from pointsman.daemon.director import mail as mail_module
from pointsman.daemon.director.mail import MailQueue
from pointsman.health.alerts import Alert


@pytest.mark.parametrize("host", [HOST, "::1"])
def test_an_alert_arrives_with_the_headers_of_keepalived(host: str) -> None:
    async def scenario(mailbox: Mailbox) -> None:
        queue = MailQueue(config(mailbox.port, server=host))
        queue.start()
        queue.put(DOWN)
        await queue.close()

    mailbox = with_mailbox(scenario, host=host)
    (message,) = mailbox.messages()
    envelope = mailbox.envelopes[0]
    assert envelope.mail_from == "dmz-lb-keepalived@mydomain.org"
    assert envelope.rcpt_tos == ["admin@mydomain.org", "second@mydomain.org"]
    assert mailbox.helo == "lb-01.mydomain.org"
    assert message["From"] == "dmz-lb-keepalived@mydomain.org"
    assert message["To"] == "admin@mydomain.org, second@mydomain.org"
    assert message["Subject"] == DOWN.subject
    assert message["X-Mailer"] == "Pointsman"
    assert abs(email.utils.parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 60
    assert str(message.get_payload()).replace("\r\n", "\n") == DOWN.body


def test_one_message_an_alert_in_their_order() -> None:
    async def scenario(mailbox: Mailbox) -> None:
        queue = MailQueue(config(mailbox.port))
        queue.start()
        for number in range(20):
            queue.put(Alert(f"number {number}", "text\n"))
        await queue.close()

    subjects = [message["Subject"] for message in with_mailbox(scenario).messages()]
    assert subjects == [f"number {number}" for number in range(20)]


@pytest.mark.parametrize(("host", "shown"), [(HOST, HOST), ("::1", "[::1]")])
def test_a_server_that_is_down_is_tried_again_and_complained_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    monkeypatch.setattr(mail_module, "FIRST_PAUSE", 0.1)

    async def scenario(mailbox: Mailbox) -> None:
        mailbox.close()
        queue = MailQueue(config(mailbox.port, server=host))
        queue.start()
        queue.put(DOWN)
        queue.put(Alert("second", "text\n"))
        assert caplog.records == [], "whoever puts a mail in has already gone on when it is tried"
        await asyncio.sleep(0.5)
        await mailbox.open()
        await mailbox.holds(2)
        await queue.close()

    with caplog.at_level(logging.ERROR):
        mailbox = with_mailbox(scenario, host=host)
    assert [message["Subject"] for message in mailbox.messages()] == [DOWN.subject, "second"]
    complaints = [record.message for record in caplog.records if record.name == "mail"]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"cannot send mail through {shown}:{mailbox.port}: ")


def test_later_means_later_and_never_means_never(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_module, "FIRST_PAUSE", 0.05)

    async def scenario(mailbox: Mailbox) -> None:
        mailbox.answers = ["451 try later", "451 try later", "250 OK", "550 no", "250 OK"]
        queue = MailQueue(config(mailbox.port))
        queue.start()
        for subject in ("greylisted", "unwanted", "fine"):
            queue.put(Alert(subject, "text\n"))
        await mailbox.holds(2)
        await queue.close()

    with caplog.at_level(logging.ERROR):
        mailbox = with_mailbox(scenario)
    assert [message["Subject"] for message in mailbox.messages()] == ["greylisted", "fine"]
    complaints = [record.message for record in caplog.records if record.name == "mail"]
    assert complaints == [
        f"the mail server {HOST} replies 451 try later: retrying",
        f"the mail server {HOST} replies 550 no: this mail is dropped",
    ]


def test_a_server_that_hangs_holds_up_nobody_and_the_queue_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    silent = socket.create_server((HOST, 0))

    async def scenario() -> float:
        queue = MailQueue(config(silent.getsockname()[1], timeout=30.0))
        queue.start()
        for number in range(mail_module.MAX_WAITING + 100):
            queue.put(Alert(f"number {number}", "text\n"))
        await asyncio.sleep(0.2)
        before = time.monotonic()
        await queue.close(deadline=0.5)
        return time.monotonic() - before

    with caplog.at_level(logging.WARNING):
        took = asyncio.run(scenario())
    silent.close()
    assert took < 25.0, "not the 30 s that it would wait for the server"
    told = [record.message for record in caplog.records if record.name == "mail"]
    assert told[0] == f"more than {mail_module.MAX_WAITING} mails are queued: the oldest are dropped"
    (unsent,) = [each for each in told if "before the stop" in each]
    assert unsent.startswith(f"{mail_module.MAX_WAITING} mails were not sent within ")
    assert told[-1] == f"  and {mail_module.MAX_WAITING - mail_module.MAX_UNSENT} more"


def test_a_stop_gives_a_waiting_mail_its_last_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts, far apart, the server comes back and the queue is closed."""
    monkeypatch.setattr(mail_module, "FIRST_PAUSE", 3600.0)

    async def scenario(mailbox: Mailbox) -> None:
        mailbox.answers = ["451 try later"]
        queue = MailQueue(config(mailbox.port))
        queue.start()
        queue.put(DOWN)
        while mailbox.answers:
            await asyncio.sleep(0.01)
        await queue.close(deadline=DEADLINE)

    assert len(with_mailbox(scenario).envelopes) == 1


@pytest.mark.parametrize("changes", [{"server": ""}, {"recipients": ()}])
def test_without_a_server_or_a_recipient_nothing_is_sent(changes: dict[str, Any]) -> None:
    async def scenario(mailbox: Mailbox) -> None:
        queue = MailQueue(config(mailbox.port, **changes))
        assert not queue.is_configured
        queue.start()
        queue.put(DOWN)
        await queue.close()

    assert with_mailbox(scenario).envelopes == []


def test_a_long_subject_stays_on_one_line_as_keepalived_writes_it() -> None:
    subject = "[lb-01] Realserver [192.168.100.20]:tcp:80 of virtual server [192.168.100.9]:tcp:80 - DOWN"

    async def scenario(mailbox: Mailbox) -> None:
        queue = MailQueue(config(mailbox.port))
        queue.start()
        queue.put(Alert(subject, "text\n"))
        await queue.close()

    (envelope,) = with_mailbox(scenario).envelopes
    assert f"\r\nSubject: {subject}\r\n".encode() in envelope.content


def test_a_mail_that_cannot_be_written_down_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An address outside ASCII needs an extension that this server does not offer."""

    async def scenario(mailbox: Mailbox) -> None:
        queue = MailQueue(config(mailbox.port, sender="wächter@mydomain.org"))
        queue.start()
        queue.put(DOWN)
        queue.put(DOWN)
        await queue.close(deadline=3.0)

    with caplog.at_level(logging.WARNING):
        mailbox = with_mailbox(scenario, utf8=False)
    assert mailbox.envelopes == []
    complaints = [record.message for record in caplog.records if record.name == "mail"]
    assert len(complaints) == 1
    assert "this mail is dropped" in complaints[0]


@pytest.mark.parametrize("refused", [1, 2])
def test_refused_recipients_are_told_and_the_others_get_their_mail(
    refused: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(mailbox: Mailbox) -> None:
        mail = config(mailbox.port)
        mailbox.refused = dict.fromkeys(mail.recipients[:refused], "550 unknown user")
        queue = MailQueue(mail)
        queue.start()
        queue.put(DOWN)
        queue.put(DOWN)
        await queue.close(deadline=3.0)

    with caplog.at_level(logging.WARNING):
        mailbox = with_mailbox(scenario)
    taken = [envelope.rcpt_tos for envelope in mailbox.envelopes]
    assert taken == ([["second@mydomain.org"]] * 2 if refused == 1 else [])
    complaints = [record.message for record in caplog.records if record.name == "mail"]
    assert len(complaints) == 1
    assert "550" in complaints[0]
    assert "unknown user" in complaints[0]
