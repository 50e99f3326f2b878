# SPDX-License-Identifier: Apache-2.0
"""Choice of the probe for each type of check."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from pointsman.daemon.checker.probes import datagrams, dr_check, file_check, http, misc_check, ping, smtp
from pointsman.daemon.checker.probes.probe import Finished, Probe, Result, TaskProbe
from pointsman.daemon.checker.probes.tcp import TcpProbe
from pointsman.model.checks import (
    BfdCheck,
    DirectCheck,
    DnsCheck,
    FileCheck,
    HttpCheck,
    MiscCheck,
    SmtpCheck,
    TcpCheck,
    UdpCheck,
)
from pointsman.model.health import AnyCheck


def probe_for(check: AnyCheck, step: int, loop: asyncio.AbstractEventLoop, finished: Finished) -> Probe:
    """Return a probe of this check, not started. `step`: as in health.schedule.StartProbe."""
    if isinstance(check, TcpCheck):
        return TcpProbe(check, loop, finished)
    return TaskProbe(_body(check, step), loop, finished)


def _body(check: AnyCheck, step: int) -> Coroutine[object, object, Result]:
    if isinstance(check, HttpCheck):
        return http.probe(check, step)
    if isinstance(check, SmtpCheck):
        return smtp.probe(check)
    if isinstance(check, DnsCheck):
        return datagrams.ask_dns(check)
    if isinstance(check, UdpCheck):
        return datagrams.ask_udp(check)
    if isinstance(check, DirectCheck):
        return dr_check.probe(check, step)
    if isinstance(check, MiscCheck):
        return misc_check.probe(check)
    if isinstance(check, FileCheck):
        return file_check.probe(check)
    assert not isinstance(check, TcpCheck | BfdCheck)
    return ping.probe(check)
