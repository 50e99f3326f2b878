"""Which probe carries out which check."""

from __future__ import annotations

import asyncio

from pointsman.daemon.probes import http
from pointsman.daemon.probes.probe import Finished, Probe, TaskProbe
from pointsman.daemon.probes.tcp import TcpProbe
from pointsman.model.checks import TcpCheck
from pointsman.model.health import AnyCheck


def probe_for(check: AnyCheck, step: int, loop: asyncio.AbstractEventLoop, finished: Finished) -> Probe:
    """A probe of this check, not started yet; `step` as in health.schedule.StartProbe."""
    if isinstance(check, TcpCheck):
        return TcpProbe(check, loop, finished)
    return TaskProbe(http.probe(check, step), loop, finished)
