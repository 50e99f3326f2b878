# SPDX-License-Identifier: Apache-2.0
"""Feeds the configuration with what coverage leads to: `python tests/fuzz/conf.py -max_total_time=600`.

Needs atheris (`pip install atheris`), which is no dependency. Any text has to become a Config or a ConfError.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["pointsman.conf"]):
    from pointsman.conf.keywords.table import TABLE
    from pointsman.conf.load import load
    from pointsman.conf.show.config import show_config
    from pointsman.conf.text.problems import ConfError
    from pointsman.conf.text.source import TextReader


def one(data: bytes) -> None:
    """Load it, with an included file beside it; what loads has to be shown and read again."""
    text, _, other = data.partition(b"\xff\xff")
    try:
        config = load(TextReader({"f": text, "g": other}), "f").config
    except ConfError:
        return
    load(TextReader({"f": show_config(config)}), "f")


def dictionary(path: str) -> None:
    """The words of the language, for the fuzzer's `-dict`."""
    words = sorted({name for rows in TABLE.values() for name in rows})
    with open(path, "w") as file:  # noqa: PTH123
        file.writelines(f'"{word} "\n' for word in words)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--dictionary"]:
        dictionary(sys.argv[2])
    else:
        atheris.Setup(sys.argv, one)
        atheris.Fuzz()
