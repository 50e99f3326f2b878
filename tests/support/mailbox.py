# SPDX-License-Identifier: Apache-2.0
"""A real SMTP server on loopback, and mails for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP
from tests.support.until import DEADLINE

from pointsman.health.alerts import Alert
from pointsman.model.config import Mail

HOST = "127.0.0.1"
DOWN = Alert(
    "[lb-01] Realserver [192.168.100.20]:tcp:80 - DOWN", "=> TCP CHECK failed on service <=\nrefused\n"
)


class Mailbox:
    """An SMTP server and its mails. `answers` are its replies to DATA, `refused` those to recipients."""

    def __init__(self, utf8: bool, host: str = HOST) -> None:
        self._utf8 = utf8
        self._host = host
        self.envelopes: list[Any] = []
        self.helo = ""
        self.answers: list[str] = []
        self.refused: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self.port = 0

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            self.helo = session.host_name
            self.envelopes.append(envelope)
        return answer

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, enable_SMTPUTF8=self._utf8, loop=loop), self._host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def messages(self) -> list[Message]:
        return [message_from_bytes(envelope.content) for envelope in self.envelopes]

    async def holds(self, count: int, within: float = DEADLINE) -> None:
        end = time.monotonic() + within
        while len(self.envelopes) < count:
            assert time.monotonic() < end, f"{len(self.envelopes)} of {count} mails within {within} s"
            await asyncio.sleep(0.01)


def config(port: int, **changes: Any) -> Mail:
    given: dict[str, Any] = {
        "recipients": ("admin@mydomain.org", "second@mydomain.org"),
        "sender": "dmz-lb-keepalived@mydomain.org",
        "server": HOST,
        "port": port,
        "helo_name": "lb-01.mydomain.org",
        "timeout": 2.0,
    }
    return Mail(**{**given, **changes})


def with_mailbox(
    scenario: Callable[[Mailbox], Awaitable[None]], utf8: bool = True, host: str = HOST
) -> Mailbox:
    """Run a scenario with a mail server."""
    mailbox = Mailbox(utf8, host)

    async def whole() -> None:
        await mailbox.open()
        try:
            await scenario(mailbox)
        finally:
            mailbox.close()

    asyncio.run(whole())
    return mailbox
