"""sysctl.d files: which of them gives a key which value at boot (sysctl.d(5))."""

from __future__ import annotations

from pathlib import Path

from pointsman.realserver.facts import ArpKey

FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")


def parse(text: str) -> dict[ArpKey, int]:
    """The ARP keys a sysctl.d file sets; its other lines are none of our business."""
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
    """All sysctl.d files below `root` in the order they take effect; a name in /etc hides one in /usr/lib."""
    by_name: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        by_name.update({path.name: path for path in (root / folder).glob("*.conf")})
    return [by_name[name] for name in sorted(by_name)]


def file_that_sets(key: ArpKey, value: int, root: Path = Path("/")) -> str | None:
    """The file whose setting of `key` holds at boot, if it is this value."""
    last: str | None = None
    for path in files(root):
        try:
            found = parse(path.read_text(errors="replace")).get(key)
        except OSError:  # a dangling link, or a file that went while we looked
            continue
        if found is not None:
            last = str(path) if found == value else None
    return last
