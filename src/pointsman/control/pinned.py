"""What a director has pinned in the kernel, read without its help."""

from __future__ import annotations

from pointsman.control.messages import TableReply, TableRequest
from pointsman.control.paths import pin_directory
from pointsman.dataplane.interface import DataPlane
from pointsman.dataplane.xdp.plane import XdpDataPlane


def pinned_plane() -> DataPlane:
    """The data plane in force in this network namespace, to read only; needs root. Raises OSError."""
    return XdpDataPlane.open_readonly(pin_directory())


def read_table(plane: DataPlane, message: TableRequest) -> TableReply:
    """What a director would answer, without the rates, which only it can know. Raises OSError."""
    try:
        return TableReply(
            table=plane.read(),
            counters=plane.counters(),
            timeouts=plane.timeouts(),
            connection_table_size=plane.capabilities().connection_limit,
            connections=tuple(plane.connections()) if message.connections else (),
        )
    finally:
        plane.close(keep_forwarding=True)
