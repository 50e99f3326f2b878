# SPDX-License-Identifier: Apache-2.0
"""Mails over TLS and with AUTH, against a real SMTP server; a storm of them."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from tests.support.mailbox import DOWN, HOST, Mailbox, config

from pointsman.daemon.director import mail as mail_module
from pointsman.daemon.director.mail import MailQueue
from pointsman.health.alerts import Alert
from pointsman.model.config import MailTls


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=mail"
    subprocess.run(
        [*words.split(), "-addext", f"subjectAltName=IP:{HOST}", "-keyout", path, "-out", path],
        check=True,
        capture_output=True,
    )
    return path


class SecureMailbox(Mailbox):
    """Takes mails over TLS alone, and from `user` with `secret` alone."""

    def __init__(self, certificate: Path, implicit: bool) -> None:
        super().__init__(utf8=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._implicit = implicit
        self.logins: list[tuple[bytes, bytes]] = []

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _kind: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        right = (data.login, data.password) == (b"user", b"secret")
        return AuthResult(success=right, handled=False)  # not handled here: the server answers by itself

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(
                self,
                loop=loop,
                tls_context=None if self._implicit else self._context,
                require_starttls=not self._implicit,
                authenticator=self._authenticate,
                auth_required=True,
                auth_require_tls=not self._implicit,
            ),
            HOST,
            0,
            ssl=self._context if self._implicit else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]


def sent(mailbox: Mailbox, caplog: pytest.LogCaptureFixture | None = None, **changes: Any) -> None:
    """Queue an alert for this server and wait until it has come; with `caplog` until there is a complaint."""

    async def scenario() -> None:
        await mailbox.open()
        queue = MailQueue(config(mailbox.port, **changes))
        queue.start()
        queue.put(DOWN)
        if caplog is None:
            await mailbox.holds(1)
        else:
            async with asyncio.timeout(30):
                while not any(record.name == "mail" for record in caplog.records):
                    await asyncio.sleep(0.02)
        await queue.close(deadline=0.7)
        mailbox.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("tls", [MailTls.STARTTLS, MailTls.IMPLICIT])
def test_a_mail_over_tls_with_a_password(certificate: Path, tls: MailTls) -> None:
    mailbox = SecureMailbox(certificate, implicit=tls is MailTls.IMPLICIT)
    sent(mailbox, tls=tls, tls_authority=str(certificate), user="user", password="secret")
    assert [message["Subject"] for message in mailbox.messages()] == [DOWN.subject]
    assert mailbox.logins == [(b"user", b"secret")]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"password": "wrong"}, "Authentication credentials invalid"),
        ({"tls_authority": ""}, "certificate"),
        ({"tls": MailTls.NONE}, "AUTH"),
    ],
    ids=["wrong password", "unknown certificate", "no TLS"],
)
def test_what_is_wrong_is_said_once_and_no_mail_is_lost(
    certificate: Path, changes: dict[str, Any], complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = SecureMailbox(certificate, implicit=False)
    right = {"tls": MailTls.STARTTLS, "tls_authority": str(certificate), "user": "user", "password": "secret"}
    with caplog.at_level(logging.WARNING):
        sent(mailbox, caplog, **{**right, **changes})
    assert mailbox.envelopes == []
    told = [record.message for record in caplog.records if record.name == "mail"]
    failed, stopped, lost = told
    assert failed.endswith("retrying") and complaint in failed
    assert stopped.startswith("1 mail was not sent within ") and complaint in stopped
    assert lost == f"  not sent: {DOWN.subject}"


def test_a_certificate_need_not_be_good_when_the_administrator_says_so(certificate: Path) -> None:
    mailbox = SecureMailbox(certificate, implicit=True)
    sent(mailbox, tls=MailTls.IMPLICIT, tls_verify=False, user="user", password="secret")
    assert len(mailbox.envelopes) == 1


def test_a_server_without_tls_gets_nothing_when_tls_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    mailbox = Mailbox(utf8=True)
    with caplog.at_level(logging.WARNING):
        sent(mailbox, caplog, tls=MailTls.STARTTLS)
    assert mailbox.envelopes == []
    assert "STARTTLS" in caplog.records[0].message and "retrying" in caplog.records[0].message


def test_a_storm_becomes_one_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says "later" once; what has gathered meanwhile comes as one mail with every reason in it."""
    monkeypatch.setattr(mail_module, "FIRST_PAUSE", 0.1)
    mailbox = Mailbox(utf8=True)
    mailbox.answers = ["451 later"]
    subjects = [f"[lb-01] Realserver [192.0.2.{number}]:tcp:80 - DOWN" for number in range(200)]

    async def scenario() -> None:
        await mailbox.open()
        queue = MailQueue(config(mailbox.port))
        queue.start()
        for subject in subjects:
            queue.put(Alert(subject, "=> TCP CHECK failed on service <=\nrefused\n"))
        await mailbox.holds(1)
        queue.put(Alert("alone", "again\n"))
        await mailbox.holds(2)
        await queue.close()
        mailbox.close()

    asyncio.run(scenario())
    storm, alone = mailbox.messages()
    assert storm["Subject"] == "[lb-01] 200 alerts" and alone["Subject"] == "alone"
    text = str(storm.get_payload())
    assert all(subject in text for subject in subjects) and text.count("    refused") == 200
