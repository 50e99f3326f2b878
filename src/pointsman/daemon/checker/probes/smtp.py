# SPDX-License-Identifier: Apache-2.0
"""SMTP_CHECK: greeting, HELO and QUIT, each with an answer in time."""

from __future__ import annotations

import asyncio

from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import connect, probe_error
from pointsman.health import tcp
from pointsman.model.checks import SmtpCheck

MAX_LINES = 64
"""Lines that one answer may have."""


async def probe(check: SmtpCheck) -> Result:
    """Make a session with the mail server. Raises ProbeFailedError and ProbeUnableError."""
    reader, writer = await asyncio.open_connection(sock=await connect(check))
    try:
        greeting = await _answer(check, reader, 220, "greeting")
        writer.write(f"HELO {check.helo_name}\r\n".encode())
        await _answer(check, reader, 250, "answer to HELO")
        writer.write(b"QUIT\r\n")
        await _answer(check, reader, None, "answer to QUIT")
    except OSError as error:
        raise probe_error(check, error) from None
    finally:
        writer.transport.abort()
    return Result(Outcome.PASSED, f"greeting {greeting} from {tcp.target(check)}")


async def _answer(check: SmtpCheck, reader: asyncio.StreamReader, code: int | None, what: str) -> str:
    """Return the last line of an answer, which may have several (RFC 5321 section 4.2.1).

    Raises ProbeFailedError and OSError.
    """
    where = tcp.target(check)
    try:
        async with asyncio.timeout(check.connect_timeout):
            for _ in range(MAX_LINES):
                line = await reader.readline()
                if not line.endswith(b"\n"):
                    raise ProbeFailedError(f"connection closed by {where} before its {what}")
                text = line.decode("ascii", "backslashreplace").strip()[:100]
                if code is not None and not text.startswith(str(code)):
                    raise ProbeFailedError(f"{what} {text!r} instead of {code} from {where}")
                if text[3:4] != "-":
                    return repr(text)
    except TimeoutError:
        took = f"{check.connect_timeout:.1f} s"
        raise ProbeFailedError(f"no {what} within {took} from {where}") from None
    except ValueError:
        raise ProbeFailedError(f"a line of more than 64 KiB as {what} from {where}") from None
    raise ProbeFailedError(f"more than {MAX_LINES} lines as {what} from {where}")
