# SPDX-License-Identifier: Apache-2.0
"""Corrections of a file: what to write in place of which text. Problems carry those that are certain."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pointsman.model.location import Location

if TYPE_CHECKING:
    from pointsman.conf.text.tokens import Word


class Change(enum.Enum):
    """The kind of an edit."""

    REPLACE = "replace"
    """The text takes the place of the marked words."""
    REMOVE = "remove"
    """The statement that begins here goes, with its block."""
    BELOW = "below"
    """The text becomes a line below this one."""
    ABOVE = "above"
    """The text becomes a line above this one."""
    INSIDE = "inside"
    """The text becomes the first line of the block that begins here."""


class Edit(msgspec.Struct, frozen=True):
    """One change of a file."""

    change: Change
    location: Location
    width: int = 0
    """Number of characters to replace."""
    text: str = ""


class Choice(msgspec.Struct, frozen=True):
    """One of several remedies, between which the owner of the file decides."""

    label: str
    edits: tuple[Edit, ...]


def replace(word: Word, text: str) -> tuple[Edit, ...]:
    """Return the edit that writes `text` in place of a word."""
    return (Edit(Change.REPLACE, word.location, word.width, text),)


def cut(words: Sequence[Word]) -> tuple[Edit, ...]:
    """Return the edit that removes words which follow one another in a line."""
    first, last = words[0].location, words[-1].location
    if first.line != last.line:
        return ()
    return (Edit(Change.REPLACE, first, last.column + words[-1].width - first.column, ""),)


def remove(keyword: Word) -> tuple[Edit, ...]:
    """Return the edit that removes the statement of a keyword."""
    return (Edit(Change.REMOVE, keyword.location),)


def below(keyword: Word, text: str) -> tuple[Edit, ...]:
    """Return the edit that adds a line below a statement."""
    return (Edit(Change.BELOW, keyword.location, 0, text),)


def inside(keyword: Word, text: str) -> tuple[Edit, ...]:
    """Return the edit that adds the first line of a keyword's block."""
    return (Edit(Change.INSIDE, keyword.location, 0, text),)
