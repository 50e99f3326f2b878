"""Hosts on one switch, made of network namespaces, and the programs that tests run on them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pointsman.control.messages import InstanceChanged, decode_report
from pointsman.lab import namespace
from pointsman.lab.node import forget
from pointsman.model.vrrp import StaticSettings, VrrpInstance

ROOT = Path(__file__).parents[2]
_SO_RCVBUFFORCE = 33
DEADLINE = 30.0
"""Seconds after which what a test waits for counts as not happening."""
KEEPALIVED = shutil.which("keepalived") or "/usr/sbin/keepalived"
needs_keepalived = pytest.mark.skipif(not Path(KEEPALIVED).exists(), reason="keepalived is not installed")


def until(what: str, condition: Callable[[], bool], seconds: float = DEADLINE) -> float:
    """Wait for a condition; how long it took, in seconds. Fails the test when it does not come."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.02)
    return time.monotonic() - began


class Host:
    """A host with one interface, eth0."""

    def __init__(self, switch: str, prefix: str, name: str, address: str) -> None:
        self.name = name
        self.address = ipaddress.IPv4Address(address.split("/")[0])
        self.namespace = f"{prefix}-{name}"
        self.port = f"port-{name}"
        self._switch = switch
        self._processes: list[subprocess.Popen[bytes]] = []
        namespace.create(self.namespace)
        with namespace.entered(self.namespace):
            # No wait for duplicate detection: link-local addresses are there at once.
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        with namespace.entered(switch):
            ip("link", "add", "name", self.port, "type", "veth", "peer", "eth0", "netns", self.namespace)
            ip("link", "set", self.port, "master", "br0", "up")
        self.ip("addr", "add", address, "dev", "eth0")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")

    def ip(self, *arguments: str) -> str:
        with namespace.entered(self.namespace):
            return ip(*arguments)

    def addresses(self) -> list[str]:
        """What eth0 has, as ADDRESS/PREFIX."""
        lines = self.ip("-4", "-o", "addr", "show", "dev", "eth0").splitlines()
        return [line.split()[3] for line in lines]

    def mac(self) -> bytes:
        with namespace.entered(self.namespace):
            link = ip("-o", "link", "show", "dev", "eth0")
        return bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", ""))

    def neighbour(self, address: str) -> bytes | None:
        """The MAC address by which this host reaches another, from its own table."""
        words = self.ip("neigh", "show", address, "dev", "eth0").split()
        if "lladdr" not in words:
            return None
        return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))

    def plug(self, connected: bool) -> None:
        """The carrier: what happens when somebody pulls the cable."""
        with namespace.entered(self._switch):
            ip("link", "set", self.port, "up" if connected else "down")

    def isolate(self, isolated: bool) -> None:
        """Out of the switch with the carrier still there: a split that nobody is told of."""
        with namespace.entered(self._switch):
            ip("link", "set", self.port, *(["nomaster"] if isolated else ["master", "br0"]))

    def start(self, *command: str, log: Path | None = None, **options: object) -> subprocess.Popen[bytes]:
        """Run a program on this host until the end of the test at the latest."""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
            stack.enter_context(namespace.entered(self.namespace))
            process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                command, stdout=output, stderr=output, start_new_session=True, **options
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        forget(namespace.inode(self.namespace))
        namespace.delete(self.namespace)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Switch:
    """A bridge without spanning tree, with every host that a test has connected."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts: list[Host] = []
        self._prefix = f"pmt-vrrp-{os.getpid()}"
        self.namespace = f"{self._prefix}-sw"
        namespace.create(self.namespace)
        with namespace.entered(self.namespace):
            ip("link", "add", "name", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
            ip("link", "set", "br0", "up")

    def host(self, name: str, address: str) -> Host:
        host = Host(self.namespace, self._prefix, name, address)
        self.hosts.append(host)
        return host

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        namespace.delete(self.namespace)


@contextlib.contextmanager
def switch(directory: Path) -> Iterator[Switch]:
    """A switch that leaves nothing behind."""
    made = Switch(directory)
    try:
        yield made
    finally:
        made.close()


class Ours:
    """The VRRP process of this project on a host."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        *instances: VrrpInstance,
        patient: bool = False,
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
            *(sys.executable, "-m", "tests.support.run_vrrp", str(theirs.fileno()), str(self.run_directory)),
            *(("patient",) if patient else ()),
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
        """The state that was reported last; empty before the first report."""
        with contextlib.suppress(BlockingIOError):
            while data := self.channel.recv(65536):
                report = decode_report(data)
                assert isinstance(report, InstanceChanged)
                self.heard.append(report)
                self.states[report.instance] = report
        return self.states[instance].state if instance in self.states else ""

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Keepalived:
    """Debian's keepalived on a host."""

    def __init__(self, host: Host, directory: Path, configuration: str) -> None:
        base = directory / f"keepalived-{host.name}"
        base.with_suffix(".conf").write_text(configuration)
        self.log = base.with_suffix(".log")
        self.process = host.start(
            *(KEEPALIVED, "-n", "-l", "-G", "-D", "-P", "-f", str(base.with_suffix(".conf"))),
            *("-p", str(base.with_suffix(".pid")), "-r", str(base.with_suffix(".vrrp"))),
            log=self.log,
        )

    def state(self) -> str:
        """The state that it logged last; empty before the first."""
        lines = [line for line in self.log.read_text().splitlines() if " Entering " in line]
        return lines[-1].split(" Entering ")[1].split()[0] if lines else ""

    def entered(self, state: str) -> int:
        """How often it entered a state."""
        return self.log.read_text().count(f"Entering {state} STATE")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)

    def kill(self) -> None:
        """All its processes at once, without a chance to say goodbye."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Capture:
    """The frames that come from a host, taken at its port of the switch."""

    def __init__(self, made: Switch, host: Host) -> None:
        with namespace.entered(made.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 25)
        self._socket.bind((host.port, 3))
        self._socket.setblocking(False)
        self._mac = host.mac()
        self._frames: list[bytes] = []

    def all_frames(self) -> list[bytes]:
        """From any MAC address."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, sender = self._socket.recvfrom(2048)
                if sender[2] != socket.PACKET_OUTGOING:
                    self._frames.append(frame)
        return self._frames

    def frames(self) -> list[bytes]:
        """From the MAC address that the host's eth0 had at the beginning."""
        return [frame for frame in self.all_frames() if frame[6:12] == self._mac]

    def adverts(self) -> list[bytes]:
        """The IP packets of protocol 112."""
        return [f[14:] for f in self.frames() if f[12:14] == b"\x08\x00" and f[23] == 112]

    def close(self) -> None:
        self._socket.close()
