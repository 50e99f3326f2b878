"""Complaints that are logged once, and again only after they were over."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable

MOST_KEPT = 1000
"""Complaints remembered; while there are so many, others are not logged."""


class LogOnce:
    """Logs the first complaint of each key, until the key is forgotten. Never keeps more than `most` keys."""

    __slots__ = ("_log", "_logged", "_most")

    def __init__(self, log: logging.Logger, most: int = MOST_KEPT) -> None:
        self._log = log
        self._most = most
        self._logged: dict[Hashable, None] = {}
        """Its keys, in a dict: an empty one is smaller than a set, and there are 10,000 checks."""

    def __contains__(self, key: Hashable) -> bool:
        """True if a complaint of this key would not be logged, because one was."""
        return key in self._logged

    def warning(self, key: Hashable, text: str, *values: object) -> None:
        """Log a warning, unless this key has been logged."""
        self._say(logging.WARNING, key, text, values)

    def error(self, key: Hashable, text: str, *values: object) -> None:
        """Log an error, unless this key has been logged."""
        self._say(logging.ERROR, key, text, values)

    def forget(self, key: Hashable) -> None:
        """Log this again when it comes again: it is over."""
        self._logged.pop(key, None)

    def keep_only(self, keys: Iterable[Hashable]) -> None:
        """Forget all others: these are what is wrong at present."""
        kept = set(keys)
        self._logged = {key: None for key in self._logged if key in kept}

    def clear(self) -> None:
        """Forget everything."""
        self._logged.clear()

    def _say(self, level: int, key: Hashable, text: str, values: tuple[object, ...]) -> None:
        if key in self._logged or len(self._logged) >= self._most:
            return
        self._logged[key] = None
        self._log.log(level, text, *values)
        if len(self._logged) == self._most:
            self._log.warning("%d different complaints were logged; others are left out", self._most)
