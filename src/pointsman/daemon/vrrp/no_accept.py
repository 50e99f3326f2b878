# SPDX-License-Identifier: Apache-2.0
"""no_accept: drop packets to the virtual addresses of a master, except neighbour discovery.

It concerns packets for the network stack of the director. The data plane takes its packets before that.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pointsman.daemon.runtime.log_once import LogOnce
from pointsman.net.nftables import TABLE, FilteredAddress, FilterTable

log = logging.getLogger("vrrp")


class AcceptFilter:
    """Addresses with no_accept of all instances, and the nf_tables table that drops packets to them.

    A file records that the table exists. A host without no_accept needs no nf_tables.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wanted: dict[str, frozenset[FilteredAddress]] = {}
        self._installed: frozenset[FilteredAddress] = frozenset()
        self._socket: FilterTable | None = None
        self._active = False
        self._once = LogOnce(log)

    def open(self) -> None:
        """Open the nf_tables socket. Raises OSError if this kernel has no nf_tables."""
        if self._socket is None:
            self._socket = FilterTable()

    def activate(self) -> None:
        """Install the table for the addresses so far. It replaces one that an earlier process has left."""
        self._active = True
        if self._file.exists() or self._wanted:
            self._replace(self._union())

    def set_addresses(self, owner: str, shielded: frozenset[FilteredAddress]) -> None:
        """Set the addresses of `owner` that drop packets. Failures are logged."""
        if self._wanted.get(owner, frozenset()) == shielded:
            return
        self._wanted[owner] = shielded
        if not shielded:
            del self._wanted[owner]
        if self._active:
            self._apply()

    def restore_table(self) -> None:
        """Install the table again if another program has removed it, as a firewall reload does."""
        if self._socket is not None and self._installed and not self._socket.exists():
            log.warning("another program has removed the nf_tables table %s: restoring it", TABLE)
            self._replace(self._installed)

    def _union(self) -> frozenset[FilteredAddress]:
        return frozenset().union(*self._wanted.values())

    def _apply(self) -> None:
        wanted = self._union()
        gone, new = self._installed - wanted, wanted - self._installed
        if self._socket is None or not self._installed or not wanted:
            self._replace(wanted)
            return
        try:
            self._socket.update(gone, new)
            self._installed = wanted
        except OSError:
            self._replace(wanted)  # another program has removed the table, or part of it

    def _replace(self, wanted: frozenset[FilteredAddress]) -> None:
        try:
            self.open()
            assert self._socket is not None
            self._record(exists=True)
            if wanted:
                self._socket.replace(wanted)
            else:
                self._socket.remove()
                self._record(exists=False)
            self._installed = wanted
        except OSError as error:
            log.error("no_accept has no effect, packets are not dropped: %s", error.strerror)

    def _record(self, exists: bool) -> None:
        """Record that the table exists, for the next start. Without the record a crash leaves it behind."""
        try:
            if exists:
                self._file.touch()
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            text = "cannot write %s: %s; a crash would leave the nf_tables table of no_accept behind"
            self._once.warning("record", text, self._file, error.strerror)
        else:
            self._once.forget("record")
