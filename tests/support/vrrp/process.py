# SPDX-License-Identifier: Apache-2.0
"""The VRRP process of this project on a host, and the instances that tests give it."""

from __future__ import annotations

import contextlib
import ipaddress
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from tests.support.project import ROOT
from tests.support.until import DEADLINE, until
from tests.support.vrrp.switch import Host, Switch

from pointsman.control.messages import InstanceChanged, VrrpReport, vrrp_report_decoder
from pointsman.daemon.runtime.config_history import send_config
from pointsman.model.config import Config
from pointsman.model.tracking import SyncGroupSettings, VrrpSurroundings
from pointsman.model.vrrp import StaticSettings, VirtualAddress, VrrpInstance


def instance(number: int = 1, **changes: Any) -> VrrpInstance:
    """Return an instance of version 3 at 100 ms, so that tests are quick; VI_1 has 10.9.0.100 and so on."""
    address = ipaddress.IPv4Address("10.9.0.99") + number
    quick = VrrpInstance(
        name=f"VI_{number}",
        interface="eth0",
        virtual_router_id=number,
        version=3,
        priority=200,
        advert_interval=0.1,
        addresses=(VirtualAddress(address=address, prefix_length=24, device="eth0"),),
    )
    return msgspec.structs.replace(quick, **changes)


class Ours:
    """The VRRP process of this project on a host."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        *instances: VrrpInstance,
        patient: bool = False,
        without_table: bool = False,
        static: StaticSettings | None = None,
    ) -> None:
        self.host = host
        self.run_directory = directory / f"run-{host.name}"
        self.log = directory / f"ours-{host.name}.log"
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self.states: dict[str, InstanceChanged] = {}
        self.heard: list[InstanceChanged] = []
        self.process = host.start(
            *(sys.executable, "-m", "tests.support.vrrp.run", str(theirs.fileno()), str(self.run_directory)),
            *(("patient",) if patient else ()),
            *(("without-table",) if without_table else ()),
            log=self.log,
            stdin=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            cwd=ROOT,
        )
        theirs.close()
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps((instances, static)))
        self.process.stdin.close()

    def state(self, instance: str = "VI_1") -> str:
        """Return the state that was reported last; empty before the first report."""
        with contextlib.suppress(BlockingIOError):
            while data := self.channel.recv(65536):
                report = vrrp_report_decoder.decode(data)
                if isinstance(report, InstanceChanged):
                    self.heard.append(report)
                    self.states[report.instance] = report
                else:
                    assert isinstance(report, VrrpReport)
        return self.states[instance].state if instance in self.states else ""

    def reload(self, *instances: VrrpInstance, groups: tuple[SyncGroupSettings, ...] = ()) -> None:
        """Give it another configuration."""
        shared = VrrpSurroundings(groups=groups)
        send_config(self.channel, Config(router_id="r", instances=instances, vrrp=shared))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def master_and_backup(made: Switch, a: Host, b: Host, **changes: Any) -> tuple[Ours, Ours]:
    """Start a master on one host and, when it is one, a backup on the other."""
    first = Ours(a, made.directory, instance(1, **changes))
    until("a is master", lambda: first.state() == "MASTER")
    second = Ours(b, made.directory, instance(1, priority=100, **changes))
    until("b is backup", lambda: second.state() == "BACKUP")
    return first, second


def refused(process: Ours) -> str:
    """Return the message of a process that exited at once because the host lacks something."""
    assert process.process.wait(DEADLINE) == 3
    return process.log.read_text()
