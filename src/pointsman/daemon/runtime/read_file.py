# SPDX-License-Identifier: Apache-2.0
"""Reader of configuration files on disk. It reads regular files only, and never waits for long."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

MAX_BRACES = 256
"""Patterns that `{a,b}` in one include may become."""
PATIENCE = 10.0
"""Seconds of waiting for file systems, for all files together. A dead network path may never answer."""

_MAGIC = re.compile(r"[*?[{]")
_Result = TypeVar("_Result")


class DiskReader:
    """Read files on disk. `standard_input` is the name that stands for standard input, if any."""

    def __init__(self, standard_input: str = "") -> None:
        self._standard_input = standard_input
        self._patience = PATIENCE

    def read(self, path: str, limit: int) -> bytes:
        """Return at most `limit` bytes. Raises OSError, also for a file that is not regular."""
        if path == self._standard_input:
            return sys.stdin.buffer.read(limit)
        return self.ask(path, lambda: read_regular(path, limit))

    def matches(self, pattern: str) -> Sequence[str]:
        """Return the sorted paths that match a glob pattern (with `{a,b}`), no directory."""
        return self.ask(pattern, lambda: _matches(pattern))

    def ask(self, path: str, question: Callable[[], _Result]) -> _Result:
        """Return the answer of a question to a file system. Raises OSError, and TimeoutError (an OSError)."""
        answers: list[_Result | OSError] = []

        def answer() -> None:
            try:
                answers.append(question())
            except OSError as error:
                answers.append(error)

        asking = threading.Thread(target=answer, daemon=True)  # it may never end
        began = time.monotonic()
        asking.start()
        asking.join(max(0.0, self._patience))
        self._patience -= time.monotonic() - began
        if not answers:
            text = f"its file system does not answer within {PATIENCE:g} s"
            raise TimeoutError(errno.ETIMEDOUT, text, path)
        if isinstance(answers[0], OSError):
            raise answers[0]
        return answers[0]


def read_regular(path: str, limit: int) -> bytes:
    """Return at most `limit` bytes of a regular file. Raises OSError.

    Without O_NONBLOCK a FIFO blocks in open(2), and /proc/kmsg, a regular file, in read(2).
    """
    _must_be_regular(os.stat(path), path)  # opening a device can have effects
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as stream:  # noqa: PTH123
        _must_be_regular(os.fstat(descriptor), path)
        parts: list[bytes] = []
        while limit > 0:
            part = stream.read(limit)
            if part is None:
                raise OSError(errno.EINVAL, "not a file that ends", path)
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)


def _must_be_regular(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _matches(pattern: str) -> list[str]:
    if not _MAGIC.search(pattern):
        return [pattern] if Path(pattern).exists() else []
    found = {path for single in _braces(pattern) for path in glob.glob(single)}  # noqa: PTH207
    return sorted(path for path in found if not Path(path).is_dir())


def _braces(pattern: str) -> list[str]:
    """Expand `a{b,c}` to `ab` and `ac`, as glob(7) does with GLOB_BRACE."""
    waiting = [pattern]
    done: list[str] = []
    while waiting and len(waiting) + len(done) < MAX_BRACES:
        current = waiting.pop()
        found = re.search(r"\{([^{}]*)\}", current)
        if found is None:
            done.append(current)
        else:
            before, after = current[: found.start()], current[found.end() :]
            waiting += [before + each + after for each in found[1].split(",")]
    return done
