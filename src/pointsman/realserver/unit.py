"""The settings of pointsman-realserver.service, which sets up at boot what no other file of the host could:
the methods nft and redirect, and VIPs on a dummy interface.

They are one block at the end of the unit's file; there the last assignment counts (systemd.exec(5)).
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from pointsman.model.address import Address
from pointsman.realserver import persist
from pointsman.realserver.facts import SetupError
from pointsman.realserver.persist import HEADER, FileChange
from pointsman.realserver.setup import DUMMY, REDIRECT

UNIT = "pointsman-realserver.service"
SETTINGS = Path("etc/default/pointsman-realserver")
_ENABLED = Path("etc/systemd/system/multi-user.target.wants") / UNIT
_BLOCK = re.compile(rf'\n?{re.escape(HEADER)}VIPS="(.*)"\nOPTIONS="(.*)"\n')
_WAYS = ("--method", "--dev")


def way(method: str, device: str) -> list[str]:
    """The options of `up` that say it."""
    return [f"--method={method}"] * bool(method) + [f"--dev={device}"] * (device not in ("", "lo"))


def add(root: Path, vips: Sequence[Address], method: str, device: str) -> list[FileChange]:
    """The change by which the unit sets up these VIPs, too, in this way.

    Raises SetupError where it could not work at boot, or VIPs are set up in another way.
    """
    _require_before_network(method, device)
    for path in persist.own_files(root):
        raise SetupError(f"{path} sets VIPs up in another way. {_REMOVE_FIRST}")
    before = _read(root)
    rest, known, options = _split(root, before or "")
    if not known and _value(rest, "VIPS"):
        raise SetupError(
            f"{root / SETTINGS} names VIPs already, and not by this command. Nothing changed. "
            f"Add these there: {' '.join(map(str, vips))}"
        )
    if known and way(method, device) != [word for word in options if _is_way(word)]:
        raise SetupError(
            f"{root / SETTINGS} has OPTIONS {' '.join(options)}: one way for all. {_REMOVE_FIRST}"
        )
    if not known:
        options = [word for word in _value(rest, "OPTIONS").split() if not _is_way(word)]
        options += way(method, device)
    block = _block(dict.fromkeys([*known, *vips]), options)
    return [FileChange(root / SETTINGS, before, _joined(before, rest, block))]


def remove(root: Path, vips: Sequence[Address]) -> list[FileChange]:
    """The change that undoes `add` for `vips`, or for all if none is named; none where `add` was not run."""
    before = _read(root) or ""
    rest, known, options = _split(root, before)
    if not known:
        return []
    left = [vip for vip in known if vips and vip not in vips]
    if left:
        return [FileChange(root / SETTINGS, before, _joined(before, rest, _block(left, options)))]
    return [FileChange(root / SETTINGS, before, rest if rest or not before.startswith(HEADER) else None)]


def refuse_beside(root: Path) -> None:
    """Raises SetupError where the unit sets VIPs up by `add`: other files shall not do so, too."""
    _, known, options = _split(root, _read(root) or "")
    if known:
        raise SetupError(f"{root / SETTINGS} sets VIPs up with {' '.join(options)}. {_REMOVE_FIRST}")


def is_enabled(root: Path) -> bool:
    """Whether systemd starts the unit at boot."""
    return (root / _ENABLED).is_symlink()


_REMOVE_FIRST = "Nothing changed. Take that away first: pointsman realserver persist --remove"


def _require_before_network(method: str, device: str) -> None:
    if method == REDIRECT and device:
        raise SetupError(f"with --method redirect no interface has the VIP: leave --dev {device} out")
    if device not in ("", "lo") and not device.startswith(DUMMY):
        raise SetupError(
            f"the unit runs before the first interface comes up; {device} is not up then. Nothing changed. "
            f"Put the VIP on lo, or run `pointsman realserver watch --dev {device}` when the network is up"
        )


def _split(root: Path, text: str) -> tuple[str, list[Address], list[str]]:
    """The text without our block, and the VIPs and options that it sets."""
    found = _BLOCK.search(text)
    if found is None:
        if HEADER in text:
            raise SetupError(f"{root / SETTINGS} was changed by hand below {HEADER.strip()!r}. Mend it")
        return text, [], []
    try:
        vips: list[Address] = [ipaddress.ip_address(word) for word in found[1].split()]
    except ValueError as error:
        raise SetupError(f"{root / SETTINGS} was changed by hand: {error}. Mend it") from error
    return text[: found.start()] + text[found.end() :], vips, found[2].split()


def _block(vips: Iterable[Address], options: Iterable[str]) -> str:
    return f'{HEADER}VIPS="{" ".join(map(str, vips))}"\nOPTIONS="{" ".join(options)}"\n'


def _joined(before: str | None, rest: str, block: str) -> str:
    """Ours alone in a file of our own; else behind what was there, and the line end between them is ours."""
    alone = before is None or before.startswith(HEADER)
    return f"{block}{rest}" if alone else f"{rest}\n{block}"


def _is_way(word: str) -> bool:
    return word.partition("=")[0] in _WAYS


def _value(text: str, name: str) -> str:
    """What the last assignment says, with each of our options as one word."""
    assigned = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    try:
        words = " ".join(shlex.split(assigned[-1])) if assigned else ""
    except ValueError as error:
        raise SetupError(f"{SETTINGS}: {name}={assigned[-1]}: {error}. Mend it") from error
    return re.sub(rf"({'|'.join(_WAYS)}) +", r"\1=", words)


def _read(root: Path) -> str | None:
    path = root / SETTINGS
    return path.read_text() if path.exists() else None
