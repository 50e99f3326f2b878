# SPDX-License-Identifier: Apache-2.0
"""An orderly stop of the director: which services and connections stay in the kernel, and what is logged."""

from __future__ import annotations

import logging

import msgspec

from pointsman.daemon.director.state_file import StateFile
from pointsman.daemon.director.table_sync import TableSync, unmanaged_services
from pointsman.dataplane.interface import DataPlane
from pointsman.model.wording import count

log = logging.getLogger("director")


def shut_down(plane: DataPlane, table_sync: TableSync, state_file: StateFile, keep_forwarding: bool) -> None:
    """Keep the connections of the configured services; leave services that were added by hand in force.

    The connections are served for as long as an idle one would be, and the next director adopts them. With
    `keep_forwarding` everything stays in force. Closes the data plane. Raises OSError.
    """
    if keep_forwarding:
        log.info("stopped; the kernel goes on forwarding (--keep-forwarding): pointsman detach ends it")
        plane.close(keep_forwarding=True)
        return
    unmanaged = unmanaged_services(plane, table_sync.managed)
    connections, state = (
        plane.unattended.connections(),
        msgspec.structs.replace(table_sync.state(), stopped=True),
    )
    if connections or state.overrides:
        state_file.write(state, {})
    else:
        state_file.forget()
    if connections:
        seconds = max(plane.timeouts())
        plane.unattended.keep(table_sync.managed, seconds)
        log.info(
            "stopped; %s stay for up to %d s, for the next start; to end them now: pointsman detach",
            count(connections, "connection"),
            seconds,
        )
    else:
        table_sync.remove_all()
    if unmanaged:
        log.info(
            "stopped; services added by hand stay in force: %s; to remove them too: pointsman detach",
            ", ".join(map(str, unmanaged)),
        )
    elif not connections:
        log.info("stopped; nothing stays in the kernel")
    plane.close(keep_forwarding=bool(unmanaged or connections))
