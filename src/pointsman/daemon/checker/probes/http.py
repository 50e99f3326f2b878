# SPDX-License-Identifier: Apache-2.0
"""HTTP_GET and SSL_GET: one GET of one URL, with limits of time and size."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from pointsman.daemon.checker.probes import tls
from pointsman.daemon.checker.probes.http_expression import judge_body
from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, Result
from pointsman.daemon.checker.probes.sockets import connect, probe_error
from pointsman.health import http, tcp
from pointsman.health.http import Answer, AnswerReader, BadAnswerError
from pointsman.model.checks import HttpCheck, Url

READ = 65536
"""Bytes of one read."""
WHOLE = 4
"""Multiple of `connect_timeout` within which the whole answer must arrive."""


async def probe(check: HttpCheck, step: int) -> Result:
    """Fetch the URL of this index and judge the answer. Raises ProbeFailedError and ProbeUnableError."""
    url = check.urls[step]
    where = f"{'https' if check.tls else 'http'}://{tcp.target(check)}{url.path}"
    return await judge(url, await fetch(check, url), where)


async def judge(url: Url, answer: Answer, where: str) -> Result:
    """Return the result of an answer. Raises ProbeFailedError and ProbeUnableError."""
    problem = http.judge_answer(url, answer)
    if not problem and url.pattern is not None:
        problem = await judge_body(url.pattern, answer.body)
    if problem:
        raise ProbeFailedError(f"{problem} from {where}")
    return Result(Outcome.PASSED, f"status {answer.status} from {where}")


class Readable(Protocol):
    """Source of the bytes of an answer."""

    async def read(self, most: int, /) -> bytes:
        """Return at least one byte, or none at the end. Raises OSError."""


async def fetch(check: HttpCheck, url: Url) -> Answer:
    """Return the answer to one GET. Raises ProbeFailedError and ProbeUnableError."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + WHOLE * check.connect_timeout
    reader, writer = await _connection(check, url)
    try:
        writer.write(http.build_request(url, http.host_header(check, url), check.version))
        return await read_answer(reader, url, check.connect_timeout, latest, tcp.target(check))
    except ssl.SSLError as error:
        raise ProbeFailedError(f"TLS with {tcp.target(check)} failed: {_words(error)}") from None
    except OSError as error:
        raise probe_error(check, error) from None
    finally:
        writer.transport.abort()


async def _connection(check: HttpCheck, url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = tls.context(check) if check.tls else None
    sock = await connect(check)
    if context is None:
        return await asyncio.open_connection(sock=sock)
    try:
        return await asyncio.open_connection(
            sock=sock,
            ssl=context,
            server_hostname=http.tls_name(check, url) or (str(check.connect_address) if check.verify else ""),
            ssl_handshake_timeout=check.connect_timeout,
        )
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        raise ProbeFailedError(f"bad certificate of {tcp.target(check)}: {why}") from None
    except ssl.SSLError as error:
        raise ProbeFailedError(f"TLS handshake with {tcp.target(check)} failed: {_words(error)}") from None
    except ConnectionAbortedError:
        took = f"{check.connect_timeout:.1f} s"
        raise ProbeFailedError(f"TLS handshake timeout after {took} with {tcp.target(check)}") from None
    except OSError as error:
        raise probe_error(check, error) from None


async def read_answer(reader: Readable, url: Url, read_timeout: float, latest: float, target: str) -> Answer:
    """Read an answer. Raises OSError, and ProbeFailedError for an answer that is not valid or too slow.

    `read_timeout`: seconds of the longest pause. `latest`: loop time by which it must be complete.
    """
    loop = asyncio.get_running_loop()
    answer = AnswerReader(keep_body=url.pattern is not None)
    while not answer.done:
        left = min(read_timeout, latest - loop.time())
        try:
            data = await asyncio.wait_for(reader.read(READ), left)
        except TimeoutError:
            slow = left < read_timeout
            limit = WHOLE * read_timeout if slow else read_timeout
            what = "answer not complete" if slow else "read timeout"
            raise ProbeFailedError(f"{what} after {limit:.1f} s from {target}") from None
        try:
            if not data:
                break
            answer.feed(data)
        except BadAnswerError as error:
            raise ProbeFailedError(f"{target} answers with {error}") from None
    try:
        return answer.finish()
    except BadAnswerError as error:
        raise ProbeFailedError(f"{error} by {target}") from None


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
