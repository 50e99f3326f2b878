# SPDX-License-Identifier: Apache-2.0
"""Searches in bodies that take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pointsman.daemon.checker.probes import http_expression
from pointsman.daemon.checker.probes.http_expression import judge_body
from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.health import http
from pointsman.model.checks import Pattern

ENDLESS = Pattern(text=r"(a|aa|aaa)+$")
BODY = b"a" * 500_000 + b"b"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    http_expression._given_up.clear()


def test_a_search_that_takes_too_long_fails_the_check_and_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches = 0
    search = http_expression._search

    def counted(pattern: Pattern, expression: object, body: bytes) -> str:
        nonlocal searches
        searches += 1
        return search(pattern, expression, body)  # type: ignore[arg-type]

    monkeypatch.setattr(http_expression, "_search", counted)
    monkeypatch.setattr(http, "MATCH_TIME", 0.01)

    async def body() -> None:
        for _ in range(5):
            with pytest.raises(ProbeFailedError, match=r"took longer than 0\.01 s"):
                await judge_body(ENDLESS, BODY)
        assert await judge_body(Pattern(text="b"), BODY) == ""
        monkeypatch.setattr(http_expression, "_given_up", {})
        with pytest.raises(ProbeFailedError):
            await judge_body(ENDLESS, BODY)

    monkeypatch.setattr(http_expression, "time", SimpleNamespace(thread_time=iter(range(100)).__next__))
    asyncio.run(body())
    assert searches == 3


def test_a_host_without_cpu_time_says_nothing_about_the_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MATCH_TIME", 0.01)
    monkeypatch.setattr(http_expression, "time", SimpleNamespace(thread_time=lambda: 0.0))

    async def body() -> None:
        with pytest.raises(ProbeUnableError, match="this host is too busy"):
            await judge_body(ENDLESS, BODY)

    asyncio.run(body())
