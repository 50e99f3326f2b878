# SPDX-License-Identifier: Apache-2.0
"""Configurations as plain data without locations in the file, to compare them."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.model.config import Config


def without_locations(item: Any) -> Any:
    """Return a model item as plain data without locations.

    Without empty lists and items, too: a default may be left out or not.
    """
    if isinstance(item, dict):
        cleaned = {key: without_locations(value) for key, value in item.items() if key != "location"}
        return {key: value for key, value in cleaned.items() if value not in ([], {})}
    return [without_locations(value) for value in item] if isinstance(item, list) else item


def plain(config: Config) -> Any:
    return without_locations(
        msgspec.json.decode(msgspec.json.encode(config, enc_hook=str, order="deterministic"))
    )
