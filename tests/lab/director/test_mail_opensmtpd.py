# SPDX-License-Identifier: Apache-2.0
"""Mails to Debian's own mail server, opensmtpd, which delivers them.

TLS and AUTH are tried with another server (test_mail_tls.py): the opensmtpd of Debian 12 cannot do TLS, as it
finds no private key with its OpenSSL 3, and without TLS it offers no AUTH.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from tests.support.mailbox import DOWN, HOST, config

from pointsman.daemon.director.mail import MailQueue

SMTPD = Path("/usr/sbin/smtpd")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mail server with its own users"),
    pytest.mark.skipif(not SMTPD.exists(), reason="opensmtpd is not installed"),
]
CONFIGURATION = """
listen on {host} port {port} hostname mail.test
action "keep" maildir "{directory}/mail" virtual {{ "@" = nobody }}
match from any for any action "keep"
"""


class MailServer:
    """opensmtpd with a spool and a run directory that nobody else sees; all mail goes to one place."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", "nobody")
        file = directory / "smtpd.conf"
        file.write_text(CONFIGURATION.format(directory=directory, host=HOST, port=self.port))
        alone = f"mount -t tmpfs none /run && mount -t tmpfs none /var/spool && exec {SMTPD} -d -f {file}"
        with (directory / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", alone], stderr=log, start_new_session=True
            )
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                socket.create_connection((HOST, self.port), 5) as probe,
            ):
                probe.settimeout(5)
                if probe.recv(100).startswith(b"220"):
                    return
            time.sleep(0.05)
        raise AssertionError((self.directory / "log").read_text())

    def mails(self) -> list[Message]:
        """Return the delivered mails, in the order of delivery."""
        found = sorted((self.directory / "mail" / "new").glob("*"), key=lambda path: path.stat().st_mtime)
        return [email.message_from_bytes(path.read_bytes()) for path in found]

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def server() -> Iterator[MailServer]:
    # Not below pytest's directory, which nobody may not enter.
    with tempfile.TemporaryDirectory(prefix="pmt-mail-") as name:
        Path(name).chmod(0o755)
        made = MailServer(Path(name))
        try:
            yield made
        finally:
            made.close()


def test_the_mail_is_delivered_to_everybody(server: MailServer) -> None:
    async def scenario() -> None:
        queue = MailQueue(config(server.port, timeout=30.0))
        queue.start()
        queue.put(DOWN)
        async with asyncio.timeout(60):
            while len(server.mails()) < 2:
                await asyncio.sleep(0.05)
        await queue.close(deadline=0.5)

    asyncio.run(scenario())
    mails = server.mails()
    assert {mail["Delivered-To"] for mail in mails} == {"admin@mydomain.org", "second@mydomain.org"}
    for mail in mails:
        assert mail["Subject"] == DOWN.subject
        assert mail["From"] == "dmz-lb-keepalived@mydomain.org"
        assert str(mail.get_payload()).replace("\r\n", "\n") == DOWN.body
        assert "from lb-01.mydomain.org" in mail["Received"]
