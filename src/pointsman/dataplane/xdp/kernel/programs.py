"""The programs of one plane, loaded when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pointsman.dataplane.xdp.kernel.loader import Loaded

Load = Callable[[Mapping[str, int], frozenset[str]], Loaded]
"""Loads programs by name over maps that are there."""


class Programs(dict[str, int]):
    """Descriptors by name.

    The verifier takes a good part of a second for each hook, and most directors need only one of them: one
    that is not there is loaded over the same maps at the moment it is asked for.
    """

    def __init__(self, loaded: Loaded, load: Load | None = None) -> None:
        super().__init__(loaded.programs)
        self._maps = loaded.maps
        self._load = load

    def __missing__(self, name: str) -> int:
        if self._load is None:
            raise KeyError(name)
        loaded = self._load(self._maps, frozenset({name}))
        for fd in loaded.maps.values():
            os.close(fd)
        self.update(loaded.programs)
        return loaded.programs[name]

    def close(self) -> None:
        """Close the descriptors. An attached program stays attached."""
        self._load = None
        for fd in self.values():
            os.close(fd)
        self.clear()
