# SPDX-License-Identifier: Apache-2.0
"""Write the files that set up a real server at boot.

These are sysctl.d, and for the VIP on lo the files of ifupdown, systemd-networkd, NetworkManager or
netplan.
"""

from __future__ import annotations

import configparser
import difflib
import enum
import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.model.address import Address
from pointsman.realserver import plan, sysctl
from pointsman.realserver.facts import SetupError

HEADER = "# Written by `pointsman realserver persist`: change or remove it with that command.\n"
VIPS = "# VIPs:"

SYSCTL = Path("etc/sysctl.d/99-lvs-dr.conf")
IFUPDOWN = Path("etc/network/interfaces.d/pointsman-lo")
NETWORKD = Path("etc/systemd/network/05-pointsman-lo.network")
KEYFILE = Path("etc/NetworkManager/system-connections/pointsman-lo.nmconnection")
NETPLAN = Path("etc/netplan/90-pointsman-lo.yaml")
PRIVATE = (KEYFILE, NETPLAN)
"""NetworkManager ignores these files if others can read them. netplan warns."""
NETWORKD_FOLDERS = ("etc/systemd/network", "run/systemd/network", "usr/lib/systemd/network")
DROP_IN = "pointsman.conf"


class Backend(enum.Enum):
    """Program that configures addresses on lo at boot."""

    AUTO = "auto"
    IFUPDOWN = "ifupdown"
    NETWORKD = "networkd"
    NETWORK_MANAGER = "networkmanager"
    NETPLAN = "netplan"


@dataclass(frozen=True)
class FileChange:
    """Present and wanted content of a file. None: the file does not exist."""

    path: Path
    before: str | None
    after: str | None
    private: bool = False
    """Only root may read the file."""

    def diff(self) -> str:
        """Return the change in the form of diff -u. Empty: no change."""
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            (self.after or "").splitlines(keepends=True),
            str(self.path) if self.before is not None else "/dev/null",
            str(self.path) if self.after is not None else "/dev/null",
        )
        return "".join(lines)

    def apply(self) -> None:
        """Write or delete the file in one step. Raises SetupError."""
        try:
            if self.after is None:
                self.path.unlink(missing_ok=True)
                if self.path.name == DROP_IN and not any(self.path.parent.iterdir()):
                    self.path.parent.rmdir()
            elif self.after != self.before:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self.path.with_name(f".{self.path.name}.new")
                fresh.touch(0o600 if self.private else 0o644)
                fresh.write_text(self.after)
                fresh.replace(self.path)
        except OSError as error:
            raise SetupError(f"cannot write {self.path}: {error.strerror}. Run it as root") from error


def detect(root: Path) -> Backend:
    """Find the network program of this host: netplan over networkd, then the enabled or active one, then
    ifupdown.

    Raises SetupError if there is none of them.
    """
    plans = [path.read_text(errors="replace") for path in (root / NETPLAN.parent).glob("*.yaml")]
    if plans and not any(re.search(r"renderer:\s*NetworkManager", text) for text in plans):
        return Backend.NETPLAN
    wants = root / "etc/systemd/system/multi-user.target.wants"
    if (wants / "systemd-networkd.service").is_symlink() or (root / "run/systemd/netif/state").exists():
        return Backend.NETWORKD
    if (wants / "NetworkManager.service").is_symlink() or (root / "run/NetworkManager").is_dir():
        return Backend.NETWORK_MANAGER
    ifup = any((root / place).exists() for place in ("sbin/ifup", "usr/sbin/ifup"))
    if ifup and (root / "etc/network/interfaces").exists():
        return Backend.IFUPDOWN
    raise SetupError(
        f"found neither netplan, nor systemd-networkd (enabled), NetworkManager (enabled) or ifupdown "
        f"(/etc/network/interfaces) in {root}. "
        f"Choose with --backend, or enable pointsman-realserver.service, which needs none of them"
    )


def add(root: Path, vips: Sequence[Address], interfaces: Sequence[str], backend: Backend) -> list[FileChange]:
    """Return the changes that add `vips` and `interfaces` to the files.

    Raises SetupError if a file exists that is not ours.
    """
    known_vips = own_vips(root)
    all_vips = list(dict.fromkeys([*known_vips, *vips]))
    all_interfaces = list(dict.fromkeys([*_own_interfaces(root), *interfaces]))
    return _plan_changes(root, all_vips, all_interfaces, detect(root) if backend is Backend.AUTO else backend)


def remove(root: Path, vips: Sequence[Address], backend: Backend) -> list[FileChange]:
    """Return the changes that undo `add` for `vips`, or for all if `vips` is empty."""
    left = [vip for vip in own_vips(root) if vips and vip not in vips]
    if not left:
        return [FileChange(path, path.read_text(), None) for path in own_files(root)]
    return _plan_changes(
        root, left, _own_interfaces(root), detect(root) if backend is Backend.AUTO else backend
    )


def own_files(root: Path) -> list[Path]:
    """Return the files below `root` that have our header."""
    drop_ins = sorted((root / NETWORKD.parent).glob(f"*.network.d/{DROP_IN}"))
    return [
        path
        for path in [*(root / name for name in (SYSCTL, IFUPDOWN, NETWORKD, *PRIVATE)), *drop_ins]
        if _is_ours(path)
    ]


def own_vips(root: Path) -> list[Address]:
    """Return the VIPs that our files add to lo."""
    found: dict[Address, None] = {}
    for path in own_files(root):
        for line in path.read_text().splitlines():
            if line.startswith(VIPS):
                try:
                    found.update(dict.fromkeys(map(ipaddress.ip_address, line.removeprefix(VIPS).split())))
                except ValueError as error:
                    raise SetupError(f"{path}: {line!r} was changed by hand: {error}. Correct it") from error
    return list(found)


def _own_interfaces(root: Path) -> list[str]:
    path = root / SYSCTL
    keys = sysctl.parse(path.read_text()) if _is_ours(path) else {}
    return list(dict.fromkeys(key.interface for key in keys if key.interface not in ("all", "lo")))


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_text(errors="replace").startswith(HEADER)


def _plan_changes(
    root: Path, vips: Sequence[Address], interfaces: Sequence[str], backend: Backend
) -> list[FileChange]:
    wanted: dict[Path, str] = {}
    if any(vip.version == 4 for vip in vips):
        _plan_sysctl(root, interfaces, wanted)
    _PLANNERS[backend](root, vips, wanted)
    changes = []
    for path in dict.fromkeys([*wanted, *own_files(root)]):
        before = path.read_text() if path.exists() else None
        private = path in [root / name for name in PRIVATE]
        changes.append(FileChange(path, before, wanted.get(path), private))
    return changes


def _plan_sysctl(root: Path, interfaces: Sequence[str], wanted: dict[Path, str]) -> None:
    path = root / SYSCTL
    lines = {
        # A minus: no error at boot if the interface does not exist (yet).
        key: f"{'-' if key.interface not in ('all', 'lo') else ''}{key} = {plan.WANTED[key.name]}"
        for key in plan.arp_keys(interfaces)
    }
    if not path.exists() or _is_ours(path):
        wanted[path] = HEADER + "".join(f"{line}\n" for line in lines.values())
        return
    found = sysctl.parse(path.read_text(errors="replace"))
    missing = [
        line for key, line in lines.items() if not plan.is_silent(key, plan.effective_value(found, key))
    ]
    if missing:
        raise SetupError(
            f"{path} exists and was not written by pointsman. Nothing changed. Add these lines to it, "
            f"or move it away: {'; '.join(missing)}"
        )


def _plan_ifupdown(root: Path, vips: Sequence[Address], wanted: dict[Path, str]) -> None:
    main = root / "etc/network/interfaces"
    text = main.read_text(errors="replace") if main.exists() else ""
    if not re.search(
        r"^\s*source(-directory)?\s+(/etc/network/)?interfaces\.d(/\*)?/?\s*$", text, re.MULTILINE
    ):
        raise SetupError(
            f"{main} does not read /etc/network/interfaces.d. Nothing changed. Add the line "
            f"`source /etc/network/interfaces.d/*` to it, and run this again"
        )
    others = [main, *(path for path in (main.parent / "interfaces.d").glob("*") if path != root / IFUPDOWN)]
    written = "\n".join(path.read_text(errors="replace") for path in others if path.is_file())
    absent = [vip for vip in vips if not _adds_to_lo(written, vip)]
    if not absent:
        return
    stanzas = [f"{HEADER}{VIPS} {' '.join(map(str, absent))}\n"]
    for family, version in (("inet", 4), ("inet6", 6)):
        members = [f"{vip}/{vip.max_prefixlen}" for vip in absent if vip.version == version]
        if members:
            stanzas.append(_stanza(family, members))
    wanted[root / IFUPDOWN] = "\n".join(stanzas)


def _adds_to_lo(interfaces: str, vip: Address) -> bool:
    """True if the administrator's own `up` lines add the VIP to lo."""
    return any(
        str(vip) in re.split(r"[\s/]+", line) and "lo" in line.split()
        for line in interfaces.splitlines()
        if line.split()[:1] == ["up"]
    )


def _stanza(family: str, members: Iterable[str]) -> str:
    lines = [f"iface lo {family} manual"]
    for member in members:
        lines.append(f"    up ip address replace {member} dev lo")
        # ifdown sets lo down first, which removes its IPv6 addresses. Then there is nothing to remove.
        lines.append(f"    down ip address del {member} dev lo || true")
    return "".join(f"{line}\n" for line in lines)


def _plan_networkd(root: Path, vips: Sequence[Address], wanted: dict[Path, str]) -> None:
    other = _network_file_of_lo(root)
    if other is None:
        path, match = root / NETWORKD, "[Match]\nName=lo\n\n"
    else:
        path, match = root / NETWORKD.parent / f"{other}.d" / DROP_IN, ""
    addresses = "".join(f"Address={vip}/{vip.max_prefixlen}\n" for vip in vips)
    wanted[path] = f"{HEADER}{VIPS} {' '.join(map(str, vips))}\n\n{match}[Network]\n{addresses}"


def _network_file_of_lo(root: Path) -> str | None:
    """Return the .network file that networkd uses for lo. It uses only the first one that matches."""
    by_name = {
        path.name: path for folder in reversed(NETWORKD_FOLDERS) for path in (root / folder).glob("*.network")
    }
    for name in sorted(by_name):
        if name == NETWORKD.name:
            continue
        patterns = _match_names(by_name[name])
        if "lo" in patterns or (
            name < NETWORKD.name and any(fnmatch.fnmatchcase("lo", pattern) for pattern in patterns)
        ):
            return name
    return None


def _match_names(path: Path) -> list[str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(path.read_text(errors="replace"))
    except configparser.Error:
        return []
    return (parser.get("Match", "Name", fallback="") or "").split()


def _plan_keyfile(root: Path, vips: Sequence[Address], wanted: dict[Path, str]) -> None:
    """Add a connection of type loopback (NetworkManager 1.42 or later), which keeps 127.0.0.1 and ::1."""
    path = root / KEYFILE
    _require_ours(path)
    text = f"{HEADER}{VIPS} {' '.join(map(str, vips))}\n\n[connection]\nid=pointsman-lo\n"
    text += "type=loopback\ninterface-name=lo\n\n[loopback]\n"
    for section, version in (("ipv4", 4), ("ipv6", 6)):
        members = [vip for vip in vips if vip.version == version]
        lines = [f"address{number}={vip}/{vip.max_prefixlen}" for number, vip in enumerate(members, 1)]
        text += "".join(
            f"{line}\n" for line in ("", f"[{section}]", *lines, f"method={'manual' if members else 'auto'}")
        )
    wanted[path] = text


def _plan_netplan(root: Path, vips: Sequence[Address], wanted: dict[Path, str]) -> None:
    """Add lo as an Ethernet, as in netplan's own examples. Its own addresses must be listed."""
    path = root / NETPLAN
    _require_ours(path)
    own = ["127.0.0.1/8", "::1/128"]
    lines = "".join(
        f'        - "{text}"\n' for text in [*own, *(f"{vip}/{vip.max_prefixlen}" for vip in vips)]
    )
    wanted[path] = (
        f"{HEADER}{VIPS} {' '.join(map(str, vips))}\n"
        f"network:\n  version: 2\n  ethernets:\n    lo:\n      addresses:\n{lines}"
    )


def _require_ours(path: Path) -> None:
    if path.exists() and not _is_ours(path):
        raise SetupError(f"{path} exists and was not written by pointsman. Nothing changed. Move it away")


_PLANNERS: dict[Backend, Callable[[Path, Sequence[Address], dict[Path, str]], None]] = {
    Backend.IFUPDOWN: _plan_ifupdown,
    Backend.NETWORKD: _plan_networkd,
    Backend.NETWORK_MANAGER: _plan_keyfile,
    Backend.NETPLAN: _plan_netplan,
}
