# SPDX-License-Identifier: Apache-2.0
"""Decode data, which can come from anybody: one exception for all that a JSON decoder raises."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import msgspec

MAX_TEXT = 200
"""Characters of the decoder's text that are kept: it can quote what it has read."""


class InvalidDataError(ValueError):
    """The bytes are not JSON of the expected type; the text says where they are not."""


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Decode JSON in this block. Raises InvalidDataError."""
    try:
        yield
    except msgspec.MsgspecError as error:
        text = str(error)
        raise InvalidDataError(text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "...") from error
    except RecursionError:
        raise InvalidDataError("JSON is nested too deeply") from None


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Make objects in this block that stay: looking for garbage among them takes longer than making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
