# SPDX-License-Identifier: Apache-2.0
"""A host in a namespace that is set up as a real server, and restored."""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.namespaces import Namespace

from pointsman.realserver import host, nft, setup, state, watch

VIP, SECOND, VIP6 = map(ipaddress.ip_address, ("192.168.7.33", "192.168.7.34", "fd00::33"))
BUILD = """
ip link add eth14 type veth peer name wire14; ip link add quiet type veth peer name wire1
ip link set quiet arp off
for nic in eth14 wire14 quiet wire1; do ip link set $nic up; done
ip address add 192.168.7.99/24 dev eth14; ip -6 address add fd00::99/64 dev eth14 nodad
"""
SNAPSHOT = """
ip -o address | sed 's/ *valid_lft.*//' | grep -v ' fe80' | sort
ip -o link | sort
for way in -4 -6; do ip $way rule; ip $way route show table all | grep -v fe80 | sort; done
grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward | sort
nft list ruleset
"""
STEPS = (
    (host, "write_arp add_address remove_address set_lo"),
    (state, "save forget"),
    (nft, "replace_tables"),
)


class RealServerHost(Namespace):
    """A host in a namespace, and the file in which `realserver` records its changes."""

    def __init__(self, directory: Path) -> None:
        super().__init__("methods")
        self.directory = directory

    def is_settled(self) -> bool:
        """True if every link with a peer that is down reports it, which takes the kernel a moment."""
        links = self.sh("ip -o link show type veth").splitlines()
        return not any("M-DOWN" in link and " state UP " in link for link in links)

    def snapshot(self) -> str:
        return self.sh(SNAPSHOT)

    def within(self, action: Callable[[], Any]) -> Any:
        with self.entered():
            return action()

    def up(self, vips: list[Any], method: str, device: str = "") -> list[setup.Step]:
        return self.within(lambda: setup.up(self.directory, vips, None, method, device))  # type: ignore[no-any-return]

    def down(self, vips: list[Any] | None = None) -> list[setup.Step]:
        return self.within(lambda: setup.down(self.directory, vips or []))  # type: ignore[no-any-return]

    def look(self) -> list[str]:
        """Return the settings that are wrong."""
        report = self.within(lambda: watch.read_report(self.directory, self.vips(), None))
        return [f"{row.setting}: {row.value}" for row in report.settings if not row.ok]

    def vips(self) -> list[Any]:
        known = state.load(self.directory, self.within(host.namespace_identity))
        return [ipaddress.ip_address(text) for text in known.was_there]

    def killed_before(self, step: int, action: Callable[[], Any]) -> bool:
        """Run it in a child that is killed (SIGKILL) before change number `step`; return True if it was."""
        child = os.fork()
        if child == 0:
            left = itertools.count(step, -1)

            def counted(real: Callable[..., Any]) -> Callable[..., Any]:
                def wrapped(*arguments: Any, **options: Any) -> Any:
                    if next(left) == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments, **options)

                return wrapped

            try:
                for module, names in STEPS:
                    for name in names.split():
                        setattr(module, name, counted(getattr(module, name)))
                action()
                os._exit(0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), "it ended with an error"
        return code != 0


@contextmanager
def fresh_host() -> Iterator[RealServerHost]:
    directory = Path(tempfile.mkdtemp())
    try:
        with RealServerHost(directory / "run") as place:
            place.sh(BUILD)
            place.settle()
            yield place
    finally:
        shutil.rmtree(directory)
