# SPDX-License-Identifier: Apache-2.0
"""The maps as arrays of structs: find those in use without an object for each."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.dataplane.xdp.kernel.layout import Dest, Front, Front6, Service
from pointsman.dataplane.xdp.tables import nonzero

FIELDS = [(Front, "key"), (Front6, "key"), (Service, "mark"), (Service, "flags"), (Dest, "sequence")]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@given(values=st.lists(st.sampled_from([0, 0, 0, 1, 1 << 31]), min_size=1, max_size=40))
def test_structs_with_a_value_are_found(kind: type[ctypes.Structure], field: str, values: list[int]) -> None:
    """Every other field is full of ones and is not looked at."""
    structs = (kind * len(values)).from_buffer(bytearray(b"\xff" * 200 * len(values)))
    for struct, value in zip(structs, values, strict=True):
        setattr(struct, field, value)
    assert nonzero(structs, field) == [index for index, value in enumerate(values) if value]
