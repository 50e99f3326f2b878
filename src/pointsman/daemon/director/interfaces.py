# SPDX-License-Identifier: Apache-2.0
"""Interfaces of the data plane: attached again when they come back, with their problems logged once.

And the addresses of this host.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.dataplane.interface import Attachment, DataPlane
from pointsman.model.address import Address
from pointsman.net.addresses import addresses
from pointsman.net.netlink import NetlinkMonitor, NetlinkOverrunError, NetlinkSocket

log = logging.getLogger("director")

LOOK_INTERVAL = 5.0
"""Seconds between two looks without a notification: the kernel does not notify of programs of tc, for one."""


class Interfaces:
    """Follows the interfaces of a data plane."""

    def __init__(self, plane: DataPlane) -> None:
        """Raises OSError if netlink cannot be used."""
        self._plane = plane
        self._monitor = NetlinkMonitor(NetlinkMonitor.LINK)
        self._look_at = float("-inf")
        self._once = LogOnce(log)
        self.problems: Sequence[str] = ()
        """Problems found by the last look."""
        self._attachments: dict[str, Attachment] = {}
        """Attachments that were logged, by interface."""

    def follow_changes(self, now: float) -> None:
        """Follow the interfaces if the kernel has notified of a change, or if the last look is long ago."""
        try:
            is_changed = bool(self._monitor.read())
        except NetlinkOverrunError:
            is_changed = True
        if is_changed or now >= self._look_at:
            self._follow()
            self._look_at = now + LOOK_INTERVAL

    def _follow(self) -> None:
        """Attach to interfaces that have come back."""
        try:
            problems = self._plane.follow_interfaces()
        except OSError as error:
            problems = [f"cannot follow the interfaces: {error}"]
        for problem in problems:
            self._once.error(problem, "%s", problem)
        self._once.keep_only(problems)
        self.problems = problems
        self._log_attachments()

    def _log_attachments(self) -> None:
        """Log each new attachment with its mode and why it is no better one, and each one that has gone."""
        present = {each.interface: each for each in self._plane.capabilities().attachments}
        for name, each in present.items():
            if self._attachments.get(name) != each:
                log.info("attached to %s: %s%s", name, each.mode, f" ({each.reason})" if each.reason else "")
        for name in self._attachments.keys() - present.keys():
            log.warning("no longer attached to %s", name)
        self._attachments = present


def read_addresses() -> frozenset[Address] | None:
    """Return the addresses of this host; None: they cannot be read, which is logged."""
    try:
        with NetlinkSocket() as netlink:
            return frozenset(found.address for found in addresses(netlink))
    except OSError as error:
        log.error("cannot read the addresses of this host: %s", error)
        return None
