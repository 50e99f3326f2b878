# SPDX-License-Identifier: Apache-2.0
"""Mail server of the lab: store every mail in a folder. Run as `python -m pointsman.lab.mailsink`."""

from __future__ import annotations

import asyncio
import email
import email.message
import email.policy
import itertools
import sys
from pathlib import Path

MAX_MAIL = 1 << 20
"""Most bytes of one mail."""


class Sink:
    """An aiosmtpd handler that stores mails."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802
        """Store one mail. The file gets its name when it is complete."""
        target = self._directory / f"{next(self._numbers):04d}.eml"
        partial = target.with_suffix(".part")
        partial.write_bytes(envelope.content)  # type: ignore[attr-defined]
        partial.rename(target)
        return "250 stored"


def mails(directory: Path) -> list[email.message.EmailMessage]:
    """Return the mails in the folder, oldest first."""
    found = []
    for path in sorted(directory.glob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        found.append(message)
    return found


async def serve(address: str, port: int, directory: Path) -> None:
    """Accept mail until cancelled. Raises OSError if the port is in use, ImportError without aiosmtpd."""
    from aiosmtpd.smtp import SMTP  # a dependency of the lab only

    sink = Sink(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink, data_size_limit=MAX_MAIL), address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
