# SPDX-License-Identifier: Apache-2.0
"""Settings of pointsman-realserver.service, for set-ups that other files cannot make at boot.

These are the methods nft and redirect, and VIPs on a dummy interface. The settings are a block at the end
of the unit's file, because the last assignment counts (systemd.exec(5)).
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
_METHOD_OPTIONS = ("--method", "--dev")


def method_options(method: str, device: str) -> list[str]:
    """Return the options of `up` for method and device."""
    return [f"--method={method}"] * bool(method) + [f"--dev={device}"] * (device not in ("", "lo"))


def add(root: Path, vips: Sequence[Address], method: str, device: str) -> list[FileChange]:
    """Return the change that adds these VIPs with this method and device to the unit.

    Raises SetupError if this cannot work at boot, or if VIPs are set up in another way.
    """
    _require_before_network(method, device)
    for path in persist.own_files(root):
        raise SetupError(f"{path} sets up VIPs in another way. {_REMOVE_FIRST}")
    before = _read(root)
    rest, known, options = _split(root, before or "")
    if not known and _read_value(rest, "VIPS"):
        raise SetupError(
            f"{root / SETTINGS} contains VIPs that this command did not write. Nothing changed. "
            f"Add these to it: {' '.join(map(str, vips))}"
        )
    if known and method_options(method, device) != [word for word in options if _is_method_option(word)]:
        raise SetupError(
            f"{root / SETTINGS} has OPTIONS {' '.join(options)}, which apply to all VIPs. {_REMOVE_FIRST}"
        )
    if not known:
        options = [word for word in _read_value(rest, "OPTIONS").split() if not _is_method_option(word)]
        options += method_options(method, device)
    block = _block(dict.fromkeys([*known, *vips]), options)
    return [FileChange(root / SETTINGS, before, _append_block(before, rest, block))]


def remove(root: Path, vips: Sequence[Address]) -> list[FileChange]:
    """Return the change that undoes `add` for `vips`, or for all if `vips` is empty. Empty: nothing to
    undo."""
    before = _read(root) or ""
    rest, known, options = _split(root, before)
    if not known:
        return []
    left = [vip for vip in known if vips and vip not in vips]
    if left:
        return [FileChange(root / SETTINGS, before, _append_block(before, rest, _block(left, options)))]
    return [FileChange(root / SETTINGS, before, rest if rest or not before.startswith(HEADER) else None)]


def require_unused(root: Path) -> None:
    """Raise SetupError if the unit sets up VIPs by `add`. Other files must not do so too."""
    _, known, options = _split(root, _read(root) or "")
    if known:
        raise SetupError(f"{root / SETTINGS} sets up VIPs with {' '.join(options)}. {_REMOVE_FIRST}")


def is_enabled(root: Path) -> bool:
    """True if systemd starts the unit at boot."""
    return (root / _ENABLED).is_symlink()


_REMOVE_FIRST = "Nothing changed. Remove this first: pointsman realserver persist --remove"


def _require_before_network(method: str, device: str) -> None:
    if method == REDIRECT and device:
        raise SetupError(f"with --method redirect no interface has the VIP: omit --dev {device}")
    if device not in ("", "lo") and not device.startswith(DUMMY):
        raise SetupError(
            f"the unit runs before the first interface is up, so {device} is down then. Nothing changed. "
            f"Use lo, or run `pointsman realserver watch --dev {device}` when the network is up"
        )


def _split(root: Path, text: str) -> tuple[str, list[Address], list[str]]:
    """Return the text without our block, and the block's VIPs and options."""
    found = _BLOCK.search(text)
    if found is None:
        if HEADER in text:
            raise SetupError(f"{root / SETTINGS} was changed by hand below {HEADER.strip()!r}. Correct it")
        return text, [], []
    try:
        vips: list[Address] = [ipaddress.ip_address(word) for word in found[1].split()]
    except ValueError as error:
        raise SetupError(f"{root / SETTINGS} was changed by hand: {error}. Correct it") from error
    return text[: found.start()] + text[found.end() :], vips, found[2].split()


def _block(vips: Iterable[Address], options: Iterable[str]) -> str:
    return f'{HEADER}VIPS="{" ".join(map(str, vips))}"\nOPTIONS="{" ".join(options)}"\n'


def _append_block(before: str | None, rest: str, block: str) -> str:
    """Return the file's text with our block.

    A file of our own starts with the block. In another file it follows the rest after an empty line that
    is ours.
    """
    alone = before is None or before.startswith(HEADER)
    return f"{block}{rest}" if alone else f"{rest}\n{block}"


def _is_method_option(word: str) -> bool:
    return word.partition("=")[0] in _METHOD_OPTIONS


def _read_value(text: str, name: str) -> str:
    """Return the value of the last assignment, with each of our options as one word."""
    assigned = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    try:
        words = " ".join(shlex.split(assigned[-1])) if assigned else ""
    except ValueError as error:
        raise SetupError(f"{SETTINGS}: {name}={assigned[-1]}: {error}. Correct it") from error
    return re.sub(rf"({'|'.join(_METHOD_OPTIONS)}) +", r"\1=", words)


def _read(root: Path) -> str | None:
    path = root / SETTINGS
    return path.read_text() if path.exists() else None
