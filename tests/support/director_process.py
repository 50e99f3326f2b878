# SPDX-License-Identifier: Apache-2.0
"""Whole directors (`pointsman run`) on hosts of a switch."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

from tests.support.control import socket_of, status_at
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE
from tests.support.vrrp.switch import Host

from pointsman.lab import namespace

VIP = "10.9.0.100"


class Director:
    """`pointsman run` on a host."""

    def __init__(self, host: Host, directory: Path, configuration: str) -> None:
        self.host = host
        self.conf = directory / f"{host.name}.conf"
        self.conf.write_text(configuration)
        self.log = directory / f"{host.name}.log"
        self.process = host.start(*POINTSMAN, "run", "-f", str(self.conf), log=self.log)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        with namespace.entered(self.host.namespace):
            return subprocess.run([*POINTSMAN, *words], capture_output=True, text=True, check=False)

    def instance(self, name: str = "VI_1") -> dict[str, object]:
        found = status_at(socket_of(self.host.namespace)).get("instances", [])
        return next((each for each in found if each["instance"] == name), {})

    def state(self, name: str = "VI_1") -> object:
        return self.instance(name).get("state")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)


def configuration(priority: int, inside: str = "", outside: str = "", interval: str = "0.2") -> str:
    return f"""
    global_defs {{
        script_user root
    }}
    {outside}
    vrrp_instance VI_1 {{
        interface eth0
        virtual_router_id 51
        version 3
        priority {priority}
        advert_int {interval}
        virtual_ipaddress {{
            {VIP}/24
        }}
        {inside}
    }}
    """


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
