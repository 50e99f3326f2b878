# SPDX-License-Identifier: Apache-2.0
"""Mails that cannot be sent: what `status` says of them, and a stop that does not wait for them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.support.until import DEADLINE

from pointsman.daemon.director import mail as module
from pointsman.daemon.director.mail import MailQueue
from pointsman.health.alerts import Alert
from pointsman.model.config import Mail

SETTINGS = Mail(server="192.0.2.1", recipients=("a@example.org",), sender="b@example.org")


class Server:
    """The mail server: it is silent, or cannot be reached, or takes all mails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries = 0
        self.error: Exception | None = None
        self.is_silent = False
        monkeypatch.setattr(MailQueue, "_client", lambda _queue: self)

    async def connect(self) -> None:
        self.tries += 1
        if self.is_silent:
            await asyncio.Event().wait()
        if self.error:
            raise self.error

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def sendmail(self, *_: object) -> tuple[dict[str, str], str]:
        return {}, ""

    async def was_tried(self, times: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.tries < times:
                await asyncio.sleep(0.001)


def test_the_status_says_what_is_wrong_until_a_mail_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)

    async def scenario() -> None:
        server = Server(monkeypatch)
        server.error = ConnectionRefusedError(111, "Connection refused")
        queue = MailQueue(SETTINGS)
        queue.start()
        assert queue.problems() == []
        queue.put(Alert("first", ""))
        queue.put(Alert("second", ""))
        await server.was_tried(2)
        (said,) = queue.problems()
        assert said.startswith("mail: cannot send mail through 192.0.2.1:25: ")
        assert "connection refused; 2 mails wait, the oldest for " in said
        server.error = None
        await queue.close(DEADLINE)
        assert queue.problems() == []

    asyncio.run(scenario())


def test_a_stop_waits_only_shortly_for_a_silent_server_and_says_what_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSING_TIME", 0.05)

    async def scenario() -> None:
        server = Server(monkeypatch)
        server.is_silent = True
        queue = MailQueue(SETTINGS)
        queue.start()
        for number in range(12):
            queue.put(Alert(f"number {number}", ""))
        async with asyncio.timeout(DEADLINE):
            await queue.close()

    asyncio.run(scenario())
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said[0].startswith("12 mails were not sent within ")
    assert said[0].endswith(" before the stop: no answer from 192.0.2.1:25")
    assert said[1:11] == [f"  not sent: number {number}" for number in range(10)]
    assert said[11:] == ["  and 2 more"]


def test_a_server_that_was_in_trouble_gets_even_less_time() -> None:
    assert module.CLOSING_TIME_IN_TROUBLE <= 0.5 < module.CLOSING_TIME <= 2.0
