# SPDX-License-Identifier: Apache-2.0
"""Find the sysctl.d file that sets a key at boot (sysctl.d(5))."""

from __future__ import annotations

from pathlib import Path

from pointsman.realserver.facts import ArpKey

FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")


def parse(text: str) -> dict[ArpKey, int]:
    """Return the ARP keys that a sysctl.d file sets. Other lines are ignored."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or key.lstrip().startswith(("#", ";")):
            continue
        try:
            found[ArpKey.parse(key.strip().removeprefix("-"))] = int(value)
        except ValueError:
            continue
    return found


def files(root: Path) -> list[Path]:
    """Return all sysctl.d files below `root` in the order of effect. A name in /etc hides one in /usr/lib."""
    by_name: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        by_name.update({path.name: path for path in (root / folder).glob("*.conf")})
    return [by_name[name] for name in sorted(by_name)]


def file_that_sets(key: ArpKey, value: int, root: Path = Path("/")) -> str | None:
    """Return the file whose setting of `key` is in effect after boot, if it has this value."""
    last: str | None = None
    for path in files(root):
        try:
            found = parse(path.read_text(errors="replace")).get(key)
        except OSError:  # a dangling link, or a file removed meanwhile
            continue
        if found is not None:
            last = str(path) if found == value else None
    return last
