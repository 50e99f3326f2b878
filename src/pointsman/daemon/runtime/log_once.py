# SPDX-License-Identifier: Apache-2.0
"""Logging of each problem once, and again only after it was over."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable

MAX_KEPT = 1000
"""Problems that are remembered. While there are so many, others are not logged."""


class LogOnce:
    """Logs the first message of each key, until the key is forgotten. Keeps at most `most` keys."""

    __slots__ = ("_log", "_logged", "_most")

    def __init__(self, log: logging.Logger, most: int = MAX_KEPT) -> None:
        self._log = log
        self._most = most
        self._logged: dict[Hashable, None] = {}
        """Keys in a dict: an empty dict is smaller than an empty set, and there may be 10,000 checks."""

    def __contains__(self, key: Hashable) -> bool:
        """True if a message of this key was logged and would not be logged again."""
        return key in self._logged

    def warning(self, key: Hashable, text: str, *values: object) -> None:
        """Log a warning, unless this key was logged."""
        self._say(logging.WARNING, key, text, values)

    def error(self, key: Hashable, text: str, *values: object) -> None:
        """Log an error, unless this key was logged."""
        self._say(logging.ERROR, key, text, values)

    def forget(self, key: Hashable) -> None:
        """Forget a key: the problem is over, and is logged if it comes again."""
        self._logged.pop(key, None)

    def keep_only(self, keys: Iterable[Hashable]) -> None:
        """Forget all keys except these: the present problems."""
        kept = set(keys)
        self._logged = {key: None for key in self._logged if key in kept}

    def clear(self) -> None:
        """Forget all keys."""
        self._logged.clear()

    def _say(self, level: int, key: Hashable, text: str, values: tuple[object, ...]) -> None:
        if key in self._logged or len(self._logged) >= self._most:
            return
        self._logged[key] = None
        self._log.log(level, text, *values)
        if len(self._logged) == self._most:
            self._log.warning("%d different problems were logged; others are not logged", self._most)
