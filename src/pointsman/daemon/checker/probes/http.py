"""HTTP_GET and SSL_GET: one GET of one URL, bounded in time and size."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 (asyncio would import it later, when we may not read it any more)
import functools
import ssl
from typing import Protocol

import regex

from pointsman.daemon.checker.probes import tls
from pointsman.daemon.checker.probes.probe import Outcome, ProbeFailedError, ProbeUnableError, Result
from pointsman.daemon.checker.probes.sockets import connected, failure
from pointsman.health import http, tcp
from pointsman.health.http import Answer, AnswerReader, BadAnswerError
from pointsman.model.checks import HttpCheck, Pattern, Url

READ = 65536
WHOLE = 4
"""An answer may take so many times `connect_timeout`, however steadily it drips."""


async def probe(check: HttpCheck, step: int) -> Result:
    """Fetch the URL of this index and judge the answer. Raises ProbeFailedError and ProbeUnableError."""
    url = check.urls[step]
    where = f"{'https' if check.tls else 'http'}://{tcp.target(check)}{url.path}"
    return await judged(url, await fetch(check, url), where)


async def judged(url: Url, answer: Answer, where: str) -> Result:
    """Whether it is what was wanted. Raises ProbeFailedError and ProbeUnableError."""
    trouble = http.judge_answer(url, answer)
    if not trouble and url.pattern is not None:
        expression = _compiled(url.pattern)
        trouble = await asyncio.to_thread(http.judge_body, url.pattern, expression, answer.body)
    if trouble:
        raise ProbeFailedError(f"{trouble} from {where}")
    return Result(Outcome.PASSED, f"status {answer.status} from {where}")


class Readable(Protocol):
    """Where the bytes of an answer come from."""

    async def read(self, most: int, /) -> bytes:
        """At least one byte, and none at the end. Raises OSError."""


async def fetch(check: HttpCheck, url: Url) -> Answer:
    """The answer to one GET. Raises ProbeFailedError and ProbeUnableError."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + WHOLE * check.connect_timeout
    reader, writer = await _connection(check, url)
    try:
        writer.write(http.build_request(url, http.host_header(check, url), check.version))
        return await read_answer(reader, url, check.connect_timeout, latest, tcp.target(check))
    except ssl.SSLError as error:
        raise ProbeFailedError(f"TLS with {tcp.target(check)} failed: {_words(error)}") from None
    except OSError as error:
        raise failure(check, error) from None
    finally:
        writer.transport.abort()


async def _connection(check: HttpCheck, url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = tls.context(check) if check.tls else None
    sock = await connected(check)
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
        raise failure(check, error) from None


async def read_answer(reader: Readable, url: Url, patience: float, latest: float, target: str) -> Answer:
    """An answer that never pauses for longer than `patience` and is complete by `latest`.

    Raises ProbeFailedError and OSError.
    """
    loop = asyncio.get_running_loop()
    taken = AnswerReader(keep_body=url.pattern is not None)
    while not taken.done:
        left = min(patience, latest - loop.time())
        try:
            data = await asyncio.wait_for(reader.read(READ), left)
        except TimeoutError:
            slow = left < patience
            limit = WHOLE * patience if slow else patience
            what = "answer not complete" if slow else "read timeout"
            raise ProbeFailedError(f"{what} after {limit:.1f} s from {target}") from None
        try:
            if not data:
                break
            taken.feed(data)
        except BadAnswerError as error:
            raise ProbeFailedError(f"{target} answers with {error}") from None
    try:
        return taken.finish()
    except BadAnswerError as error:
        raise ProbeFailedError(f"{error} by {target}") from None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: Pattern) -> regex.Pattern[bytes]:
    try:
        return http.compile_pattern(pattern)
    except ValueError as error:
        raise ProbeUnableError(f"regex {pattern.text!r}: {error}") from None


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
