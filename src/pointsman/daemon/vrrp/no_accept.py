"""no_accept: packets to the addresses of a master that does not own them are dropped, its neighbours' apart.

What the data plane forwards it takes before: this is about what the director's own stack would answer.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pointsman.net.nftables import TABLE, Shielded, ShieldSocket

log = logging.getLogger("vrrp")


class AcceptFilter:
    """The addresses that no_accept is about, of all instances, and the table that drops packets to them.

    A file says that there is a table, so that a host that never wanted one is not asked about nf_tables.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wanted: dict[str, frozenset[Shielded]] = {}
        self._in_force: frozenset[Shielded] = frozenset()
        self._socket: ShieldSocket | None = None
        self._began = False

    def open(self) -> None:
        """Make sure that this kernel can do it. Raises OSError."""
        if self._socket is None:
            self._socket = ShieldSocket()

    def begin(self) -> None:
        """What was wanted so far is put in force, in place of what a former process has left."""
        self._began = True
        if self._file.exists() or self._wanted:
            self._replace(self._union())

    def want(self, owner: str, shielded: frozenset[Shielded]) -> None:
        """`owner` wants these addresses shielded from now on, and no others. Failures are logged."""
        if self._wanted.get(owner, frozenset()) == shielded:
            return
        self._wanted[owner] = shielded
        if not shielded:
            del self._wanted[owner]
        if self._began:
            self._apply()

    def verify(self) -> None:
        """Put the table back when somebody has removed it, as reloading a firewall does."""
        if self._socket is not None and self._in_force and not self._socket.present():
            log.warning("somebody has removed the table %s: putting it back", TABLE)
            self._replace(self._in_force)

    def _union(self) -> frozenset[Shielded]:
        return frozenset().union(*self._wanted.values())

    def _apply(self) -> None:
        wanted = self._union()
        gone, new = self._in_force - wanted, wanted - self._in_force
        if self._socket is None or not self._in_force or not wanted:
            self._replace(wanted)
            return
        try:
            self._socket.change(gone, new)
            self._in_force = wanted
        except OSError:
            self._replace(wanted)  # somebody else has removed the table, or part of it

    def _replace(self, wanted: frozenset[Shielded]) -> None:
        try:
            self.open()
            assert self._socket is not None
            if wanted:
                self._file.touch()
                self._socket.replace(wanted)
            else:
                self._socket.remove()
                self._file.unlink(missing_ok=True)
            self._in_force = wanted
        except OSError as error:
            log.error("packets to addresses with no_accept are not dropped: %s", error.strerror)
