# SPDX-License-Identifier: Apache-2.0
"""The data plane of the tests of this folder."""

from __future__ import annotations

import pytest

from pointsman.dataplane.memory import MemoryDataPlane


@pytest.fixture
def plane() -> MemoryDataPlane:
    return MemoryDataPlane()
