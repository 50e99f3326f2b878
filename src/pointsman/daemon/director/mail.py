# SPDX-License-Identifier: Apache-2.0
"""Queue of alert mails to the SMTP server. It retries, and never blocks the director."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.policy
import email.utils
import logging
import os
import re
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
from pointsman.model.wording import count, duration

log = logging.getLogger("mail")

MAX_WAITING = 1000
"""Mails; if more are queued, the oldest are dropped."""
FIRST_PAUSE = 1.0
"""Seconds before the first retry of a mail; doubled at each further retry."""
LONGEST_PAUSE = 60.0
LAST_PAUSE = 0.25
"""Seconds between retries while the queue closes."""


_POLICY = email.policy.SMTP.clone(max_line_length=998, cte_type="7bit")
"""Lines up to the limit of RFC 5321: the subject stays on one line, as in keepalived, for filters."""

_ERROR_NUMBER = re.compile(r"\[Errno (-?\d+)\]")

CLOSING_TIME = 2.0
"""Seconds that a stop waits for the mail server, at most."""
CLOSING_TIME_IN_TROUBLE = 0.5
"""The same while the last mail could not be sent."""
MAX_UNSENT = 10
"""Unsent mails that a stop logs one by one."""

STORM = 25
"""Mails; if more are queued, they are sent as one digest."""
MAX_IN_DIGEST = 400
"""Alerts that one digest contains in full."""


class Waiting(NamedTuple):
    """An alert in the queue, and the time it was queued."""

    alert: Alert
    date: datetime.datetime
    since: float = 0.0
    """The same time, in seconds of the event loop."""


def digest(waiting: Sequence[Waiting]) -> Alert:
    """Return one alert in place of many: their number, and the time, subject and reason of each."""
    first = waiting[0].alert.subject
    name = first.partition("]")[0] + "] " if first.startswith("[") else ""
    subject = f"{name}{len(waiting)} alerts"
    lines = [
        f"{each.date:%H:%M:%S} {each.alert.subject}\n{textwrap.indent(each.alert.body, '    ')}"
        for each in waiting[:MAX_IN_DIGEST]
    ]
    left = len(waiting) - MAX_IN_DIGEST
    return Alert(subject, "".join([*lines, f"and {left} more\n" if left > 0 else ""]))


def compose(mail: Mail, sender: str, alert: Alert, date: datetime.datetime) -> bytes:
    """Return the alert as a mail with the headers of keepalived's mails."""
    message = EmailMessage()
    message["Date"] = email.utils.format_datetime(date)
    message["From"] = sender
    message["Subject"] = alert.subject
    message["X-Mailer"] = "Pointsman"
    message["To"] = ", ".join(mail.recipients)
    message.set_content(alert.body)
    return message.as_bytes(policy=_POLICY)


class MailQueue:
    """Sends alerts in order, each mail over a connection of its own.

    If the server cannot be reached or replies 4xx, the mail is sent again after growing intervals. If it
    replies 5xx, the mail is dropped. Each kind of error is logged once, until a mail was sent.
    """

    def __init__(self, mail: Mail) -> None:
        self._once = LogOnce(log)
        self.reconfigure(mail)
        self._waiting: deque[Waiting] = deque()
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def is_configured(self) -> bool:
        """True if the configuration has a mail server and recipients."""
        return bool(self._mail.server and self._mail.recipients)

    def reconfigure(self, mail: Mail) -> None:
        """Use these settings, also for mails that are already queued."""
        self._mail = mail
        self._host_name = mail.helo_name or socket.gethostname()
        self._sender = mail.sender or f"pointsman@{self._host_name}"
        self._once.clear()
        self._trouble = ""
        """Error of the last mail; empty: it was sent, or there was none."""

    def start(self) -> None:
        """Start to send on the running event loop."""
        self._worker = asyncio.create_task(self._work())

    def put(self, alert: Alert) -> None:
        """Queue an alert and return at once. Without a mail server it is dropped."""
        if not self.is_configured:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._once.error("full", f"more than {MAX_WAITING} mails are queued: the oldest are dropped")
        date = datetime.datetime.now(datetime.UTC).astimezone()
        self._waiting.append(Waiting(alert, date, asyncio.get_running_loop().time()))
        self._news.set()

    def problems(self) -> list[str]:
        """Return for `status` why mails are not sent; empty: they are."""
        if not self._trouble:
            return []
        if not self._waiting:
            return [f"mail: {self._trouble}"]
        oldest = asyncio.get_running_loop().time() - self._waiting[0].since
        waiting = count(len(self._waiting), "mail waits", "mails wait")
        return [f"mail: {self._trouble}; {waiting}, the oldest for {duration(oldest)}"]

    async def close(self, deadline: float | None = None) -> None:
        """Send queued mails for at most `deadline` seconds, then stop. None: a short time."""
        if self._worker is None:
            return
        if deadline is None:
            deadline = CLOSING_TIME_IN_TROUBLE if self._trouble else CLOSING_TIME
        self._closing.set()
        self._news.set()
        try:
            await asyncio.wait_for(self._worker, deadline)
        except TimeoutError:
            self._log_unsent(deadline)
        self._worker = None

    def _log_unsent(self, deadline: float) -> None:
        number = count(len(self._waiting), "mail was", "mails were")
        why = self._trouble or f"no answer from {self._mail.server}:{self._mail.port}"
        log.warning("%s not sent within %s before the stop: %s", number, duration(deadline), why)
        for each in [*self._waiting][:MAX_UNSENT]:
            log.warning("  not sent: %s", each.alert.subject)
        if (left := len(self._waiting) - MAX_UNSENT) > 0:
            log.warning("  and %d more", left)

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
        """Remove these mails from the queue; some may already have been dropped."""
        while self._waiting and any(self._waiting[0] is each for each in done):
            self._waiting.popleft()

    async def _deliver(self, message: bytes) -> bool:
        """Send a mail. Return True if the server accepted it or refused it permanently."""
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
            self._trouble = f"cannot compose a mail: {error}; this mail is dropped"
            self._once.error(type(error).__name__, self._trouble)
            return True
        except (aiosmtplib.SMTPException, OSError) as error:
            self._unreachable(error)
            return False
        for recipient, response in refused.items():
            self._trouble = f"the mail server refuses {recipient}: {response}"
            self._once.error(f"refused {recipient}", self._trouble)
        if not refused:
            self._trouble = ""
            self._once.clear()
        return True

    def _client(self) -> aiosmtplib.SMTP:
        """Return a client that is not connected. Raises OSError if the CA certificates cannot be read."""
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
        """Log that there is no usable connection. The mail stays in the queue."""
        server, port = self._mail.server, self._mail.port
        where = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
        self._trouble = f"cannot send mail through {where}: {explain(error, self._mail.timeout)}"
        self._once.error(type(error).__name__, f"{self._trouble}; retrying")

    def _answered(self, code: int, text: str) -> bool:
        permanent = code >= 500
        then = "this mail is dropped" if permanent else "retrying"
        self._trouble = f"the mail server {self._mail.server} replies {code} {text}: {then}"
        self._once.error(f"code {code}", self._trouble)
        return permanent

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt. `close` ends the wait."""
        if self._closing.is_set():
            await asyncio.sleep(LAST_PAUSE)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def explain(error: Exception, timeout: float) -> str:
    """Return why there is no usable connection, in plain words. `timeout` is in seconds."""
    if isinstance(error, aiosmtplib.SMTPTimeoutError):
        return f"no answer within {duration(timeout)}"
    if isinstance(error, aiosmtplib.SMTPConnectError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, aiosmtplib.SMTPServerDisconnected):
        return "it closed the connection"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"it replies {error.code} {error.message}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved: {(error.strerror or str(error)).lower()}"
    return _explain_system_error(error) if isinstance(error, OSError) else str(error)


def _explain_system_error(error: OSError) -> str:
    """Several addresses of one name are several errors in the text, without a number of their own."""
    numbers = [error.errno] if error.errno else [int(each) for each in _ERROR_NUMBER.findall(str(error))]
    if not numbers:
        return str(error)
    text = ", ".join(dict.fromkeys(os.strerror(each).lower() for each in numbers))
    return f"{error.filename}: {text}" if error.filename else text
