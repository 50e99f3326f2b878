# SPDX-License-Identifier: Apache-2.0
"""The programs of one data plane, loaded on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pointsman.dataplane.xdp.kernel.loader import Loaded

Load = Callable[[Mapping[str, int], frozenset[str]], Loaded]
"""A function that loads programs by name with existing maps."""


class Programs(dict[str, int]):
    """Descriptors of programs by name. A missing program is loaded with the same maps when it is looked up.

    The verifier takes a good part of a second for each hook, and most directors need only one hook.
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
