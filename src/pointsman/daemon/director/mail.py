"""Alerts on their way to the SMTP server: queued, retried, never in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.policy
import email.utils
import logging
import socket
import ssl
import textwrap
from collections import deque
from collections.abc import Sequence
from email.message import EmailMessage
from typing import NamedTuple

import aiosmtplib

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.health.alerts import Alert
from pointsman.model.config import Mail, MailTls

log = logging.getLogger("mail")

MOST_WAITING = 1000
"""Alerts; when more wait, the oldest are given up."""
FIRST_PAUSE = 1.0
"""Seconds before a failed mail is tried again; doubled each time."""
LONGEST_PAUSE = 60.0
LAST_PAUSE = 0.25
"""Seconds between attempts while the queue closes."""


_WIRE = email.policy.SMTP.clone(max_line_length=998, cte_type="7bit")
"""Lines as long as RFC 5321 allows: a subject stays on one line, as keepalived's, for existing filters."""


STORM = 25
"""When more mails than that wait, they go out as one."""
MOST_IN_DIGEST = 400
"""Alerts that one digest spells out."""


class Waiting(NamedTuple):
    """An alert in the queue, and when it was put there."""

    alert: Alert
    date: datetime.datetime


def digest(waiting: Sequence[Waiting]) -> Alert:
    """One alert in place of many: how many there are, and each with its time, subject and reason."""
    first = waiting[0].alert.subject
    name = first.partition("]")[0] + "] " if first.startswith("[") else ""
    subject = f"{name}{len(waiting)} alerts"
    lines = [
        f"{each.date:%H:%M:%S} {each.alert.subject}\n{textwrap.indent(each.alert.body, '    ')}"
        for each in waiting[:MOST_IN_DIGEST]
    ]
    left = len(waiting) - MOST_IN_DIGEST
    return Alert(subject, "".join([*lines, f"and {left} more\n" if left > 0 else ""]))


def compose(mail: Mail, sender: str, alert: Alert, date: datetime.datetime) -> bytes:
    """The alert as a message, with the headers of keepalived's mails."""
    message = EmailMessage()
    message["Date"] = email.utils.format_datetime(date)
    message["From"] = sender
    message["Subject"] = alert.subject
    message["X-Mailer"] = "Pointsman"
    message["To"] = ", ".join(mail.recipients)
    message.set_content(alert.body)
    return message.as_bytes(policy=_WIRE)


class MailQueue:
    """Sends one message an alert, in order, over a connection each.

    A server that cannot be reached or says "later" (4xx) is tried again, at growing intervals; a message it
    refuses (5xx) is given up. Each kind of trouble is logged once, until a mail goes through again.
    """

    def __init__(self, mail: Mail) -> None:
        self._once = LogOnce(log)
        self.use(mail)
        self._waiting: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def wanted(self) -> bool:
        """Whether the configuration names a server and somebody to write to."""
        return bool(self._mail.server and self._mail.recipients)

    def use(self, mail: Mail) -> None:
        """Send by these settings from now on, also what waits already."""
        self._mail = mail
        self._host_name = mail.helo_name or socket.gethostname()
        self._sender = mail.sender or f"pointsman@{self._host_name}"
        self._once.clear()

    def start(self) -> None:
        """Begin to send, on the running loop."""
        self._worker = asyncio.create_task(self._work())

    def put(self, alert: Alert) -> None:
        """Queue an alert and return at once; without a mail server it is dropped."""
        if not self.wanted:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._once.error("full", f"more than {MOST_WAITING} mails wait: the oldest are given up")
        self._waiting.append(Waiting(alert, datetime.datetime.now(datetime.UTC).astimezone()))
        self._news.set()

    async def close(self, deadline: float = 5.0) -> None:
        """Send what waits, for at most `deadline` seconds, then stop."""
        if self._worker is None:
            return
        self._closing.set()
        self._news.set()
        try:
            await asyncio.wait_for(self._worker, deadline)
        except TimeoutError:
            log.warning("%d mails were not sent before the stop", len(self._waiting))
        self._worker = None

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if not self._waiting:
                if self._closing.is_set():
                    return
                self._news.clear()
                await self._news.wait()
                continue
            taken = list(self._waiting) if len(self._waiting) > STORM else [self._waiting[0]]
            alert = digest(taken) if len(taken) > 1 else taken[0].alert
            if await self._deliver(compose(self._mail, self._sender, alert, taken[-1].date)):
                pause = FIRST_PAUSE
                self._drop(taken)
            else:
                await self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _drop(self, done: list[Waiting]) -> None:
        """Done with these; the first of them may have been pushed out meanwhile."""
        while self._waiting and any(self._waiting[0] is each for each in done):
            self._waiting.popleft()

    async def _deliver(self, message: bytes) -> bool:
        """Whether the server is done with the message: has taken it, or has refused it for good."""
        try:
            client = self._client()
            await client.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            self._unreachable(error)
            return False
        try:
            async with client:
                refused, _ = await client.sendmail(self._sender, list(self._mail.recipients), message)
        except aiosmtplib.SMTPResponseException as error:
            return self._answered(error.code, error.message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return self._answered(min(each.code for each in error.recipients), str(error.recipients[0]))
        except (aiosmtplib.SMTPNotSupported, UnicodeError) as error:
            self._once.error(type(error).__name__, f"cannot write a mail: {error}; this mail is given up")
            return True
        except (aiosmtplib.SMTPException, OSError) as error:
            self._unreachable(error)
            return False
        for recipient, response in refused.items():
            self._once.error(f"refused {recipient}", f"the mail server refuses {recipient}: {response}")
        if not refused:
            self._once.clear()
        return True

    def _client(self) -> aiosmtplib.SMTP:
        """A connection to be made. Raises OSError when the certificates to trust cannot be read."""
        mail = self._mail
        context = None
        if mail.tls is not MailTls.NONE:
            context = ssl.create_default_context(cafile=mail.tls_authority or None)
            context.check_hostname = mail.tls_verify
            context.verify_mode = ssl.CERT_REQUIRED if mail.tls_verify else ssl.CERT_NONE
        return aiosmtplib.SMTP(
            hostname=mail.server,
            port=mail.port,
            timeout=mail.timeout,
            local_hostname=self._host_name,
            start_tls=mail.tls is MailTls.STARTTLS,
            use_tls=mail.tls is MailTls.IMPLICIT,
            tls_context=context,
            username=mail.user or None,
            password=mail.password if mail.user else None,
        )

    def _unreachable(self, error: Exception) -> None:
        """No connection, or none that may be used: the mail is as good as it was."""
        where = f"{self._mail.server}:{self._mail.port}"
        self._once.error(type(error).__name__, f"cannot send mail through {where}: {error}; trying again")

    def _answered(self, code: int, text: str) -> bool:
        permanent = code >= 500
        then = "this mail is given up" if permanent else "trying again"
        self._once.error(f"code {code}", f"the mail server {self._mail.server} answers {code} {text}: {then}")
        return permanent

    async def _pause(self, seconds: float) -> None:
        """Before the next attempt; a stop cuts it short."""
        if self._closing.is_set():
            await asyncio.sleep(LAST_PAUSE)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
