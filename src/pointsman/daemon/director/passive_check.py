# SPDX-License-Identifier: Apache-2.0
"""passive_check: order checks of real servers that, by the counters of the data plane, may be down."""

from __future__ import annotations

import contextlib
import logging

from pointsman.control import messages
from pointsman.daemon.director.services import ServiceIndex
from pointsman.daemon.runtime.channels import Channels
from pointsman.dataplane.interface import DataPlane
from pointsman.health import check_types
from pointsman.health.passive_check import PassiveChecks, Suspicion
from pointsman.model.naming import server_name, service_name

log = logging.getLogger("director")


class PassiveCheck:
    """Passive check with the counters of one data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._suspicions = PassiveChecks()

    def check_suspects(self, now: float, index: ServiceIndex, channels: Channels) -> None:
        """Order a check of each suspected real server. To be called about once a second."""
        for found in self._suspicions.find_suspects(now, self._plane.passive_counters()):
            name, vs = server_name(found.service, found.server), service_name(found.service)
            log.info("%s of %s is suspected: %s; checking it now", name, vs, found.reason)
            order = messages.encode(messages.CheckNow(found.service, found.server))
            for runs_programs in _processes(index, found):
                channel = channels.scripts if runs_programs else channels.checker
                with contextlib.suppress(OSError):  # the channel is full: the next suspicion is sent
                    channel.send(order)


def _processes(index: ServiceIndex, found: Suspicion) -> set[bool]:
    """Return True if checks of the real server run in pm-scripts, False if some run in the checker."""
    member = index.member(found.service, found.server)
    return {check_types.runs_programs(check) for check in member.checks} if member else set()
