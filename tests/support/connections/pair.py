# SPDX-License-Identifier: Apache-2.0
"""A pair of directors in the lab `ha-pair`, with many connections through them, and what can happen to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pointsman.lab import services, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.node import environment
from pointsman.lab.topologies import ha_pair
from pointsman.model.config import ASK_PORT

PORT = 9000
THIRD = "mail"
"""The host that becomes the third director."""
PRIORITIES = {"lb-01": 150, "lb-02": 100, THIRD: 200}
DEADLINE = 60.0
_HERE = Path(__file__).parent


class Kind(NamedTuple):
    """How a service distributes its connections."""

    scheduler: str
    inside: str = ""
    """More lines for the virtual_server."""
    arguments: tuple[str, ...] = ()
    """More arguments of `pointsman run`."""
    sync: bool = False
    """True: with connection_sync."""
    asks: bool = False
    """True: real servers tell of their connections."""
    grace: int | None = None
    """connection_grace, if it is not the default."""


KINDS = {
    "rr": Kind("rr"),
    "wlc": Kind("wlc"),
    "mh": Kind("mh", arguments=("--sysctl", "sloppy_tcp=1")),
    "persistence": Kind("rr", "persistence_timeout 600"),
    "sync": Kind("rr", sync=True),
    "sync and asking": Kind("rr", sync=True, asks=True),
    "wlc and sync": Kind("wlc", sync=True),
    "persistence and sync": Kind("rr", "persistence_timeout 600", sync=True),
}


class Outcome(NamedTuple):
    """What happened to the connections since the last outcome."""

    connections: int
    reset: int
    stalled: int
    """Living connections that waited longer than a second for an answer or the next part of a stream."""
    longest: float
    lost: int
    """Bytes."""
    doubled: int
    waiting: int
    """Living connections that still wait at the end, for longer than a second."""
    errors: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        return not (self.reset or self.lost or self.doubled or self.waiting)


class Pair:
    """Directors lb-01 (higher priority) and lb-02 with one service, echo servers, and a client."""

    def __init__(self, lab: Lab, kind: Kind, preempt: bool = False) -> None:
        self.lab, self.kind, self.preempt = lab, kind, preempt
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._client: subprocess.Popen[str] | None = None
        self.more: tuple[str, ...] = ()
        """More arguments for directors that start from now on."""
        self.source: Path | None = None
        """Folder with another version of the package, for directors that start from now on."""
        for name in ha_pair.WEB_SERVERS:
            node = lab.node(name)
            services.set_up_real_server(node, ha_pair.VIP, ["ens224"])
            node.popen([sys.executable, str(_HERE / "echo_server.py"), str(PORT)], log="echo")
            waiting.until(partial(services.listens, node, PORT), DEADLINE, f"{name} serves")
            if kind.asks:
                watch = ["pointsman", "realserver", "watch", "--serve", "--key-file", str(self._key())]
                node.popen([*watch, ha_pair.VIP], log="watch")
                waiting.until(partial(services.listens, node, ASK_PORT), DEADLINE, f"{name} tells")

    # Directors

    def configuration(self, name: str) -> str:
        preempt = "" if self.preempt or name == THIRD else "nopreempt"
        servers = "".join(
            f"real_server {address} {PORT} {{\n weight 1\n TCP_CHECK {{\n connect_timeout 3\n }}\n }}\n"
            for address in ha_pair.WEB_SERVERS.values()
        )
        grace = "" if self.kind.grace is None else f"connection_grace {self.kind.grace}"
        return f"""
        global_defs {{
            {grace}
        }}
        vrrp_instance VI_1 {{
            state BACKUP
            interface ens224
            virtual_router_id 51
            version 3
            priority {PRIORITIES[name]}
            advert_int 0.1
            {preempt}
            virtual_ipaddress {{
                {ha_pair.VIP}/26 dev ens224
            }}
        }}
        virtual_server {ha_pair.VIP} {PORT} {{
            lb_algo {self.kind.scheduler}
            lb_kind DR
            protocol TCP
            {self.kind.inside}
            {servers}
        }}
        {self._connection_sync(name) if self.kind.sync else ""}
        """

    def _key(self) -> Path:
        key = self.lab.directory / "sync.key"
        key.write_text("the secret of the laboratory")
        key.chmod(0o600)
        return key

    def _connection_sync(self, name: str) -> str:
        peers = [
            f"peer {address.partition('/')[0]}"
            for other in PRIORITIES
            for address in self.lab.node(other).addresses("ens224")
            if other != name and not address.startswith(f"{ha_pair.VIP}/") and ":" not in address
        ]
        return (
            "connection_sync {\n"
            + "\n".join([*peers, f"key_file {self._key()}", "ask_real_servers" if self.kind.asks else ""])
            + "\n}"
        )

    def wait_for_sync(self, *names: str) -> None:
        """Wait until each of these directors has the whole table of the others."""

        def is_so() -> bool:
            for name in names:
                status = json.loads(self.ask_anyway(name, "status", "--json"))
                complete = [peer for peer in status["sync"]["peers"] if peer["complete"]]
                if len(complete) < len(names) - 1:
                    return False
            return True

        waiting.until(is_so, DEADLINE, f"{names} are in sync")

    def start(self, name: str) -> None:
        """Start a director; return when it accepts commands."""
        path = self.lab.directory / f"{name}.conf"
        path.write_text(self.configuration(name))
        arguments = ["-f", str(path), *self.kind.arguments, *self.more]
        with self._source():
            self._running[name] = services.start_director(self.lab.node(name), arguments, "auto")

    @contextlib.contextmanager
    def _source(self) -> Iterator[None]:
        """Let programs that start meanwhile use the package in `source`."""
        if self.source is None:
            yield
            return
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = f"{self.source}:{before}"
        try:
            yield
        finally:
            os.environ["PYTHONPATH"] = before

    def start_both(self) -> None:
        """Start lb-01 until it is master, then lb-02."""
        self.start("lb-01")
        self.wait_for_master("lb-01")
        self.start("lb-02")
        if self.kind.sync:
            self.wait_for_sync("lb-01", "lb-02")

    def wait_for_master(self, *names: str) -> None:
        """Wait until one of these directors, and no other host, has the VIP on its interface."""

        def is_so() -> bool:
            held = [name for name in PRIORITIES if self.has_vip(name)]
            return len(held) == 1 and held[0] in (names or PRIORITIES)

        waiting.until(is_so, DEADLINE, f"one of {names or tuple(PRIORITIES)} is master")

    def has_vip(self, name: str) -> bool:
        return any(each.startswith(f"{ha_pair.VIP}/") for each in self.lab.node(name).addresses("ens224"))

    def wait_for_other(self) -> None:
        """Wait until lb-02 has the VIP, whatever lb-01 still has."""
        waiting.until(lambda: self.has_vip("lb-02"), DEADLINE, "lb-02 is master")

    def stop(self, name: str) -> None:
        """Stop a director with SIGTERM, and wait for its end."""
        child = self._running.pop(name)
        child.terminate()
        child.wait(DEADLINE)

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)
        self.wait_for_master()

    def process(self, name: str, process: str) -> int:
        """Return the process id of pm-`process` on a director. Raises ProcessLookupError."""
        for pid in self.lab.node(name).processes():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == f"pm-{process}":
                    return pid
        raise ProcessLookupError(f"no pm-{process} on {name}")

    def kill(self, name: str, process: str) -> None:
        """Kill one process of a director (SIGKILL), and wait until another one runs in its place."""
        killed = self.process(name, process)
        os.kill(killed, signal.SIGKILL)

        def is_replaced() -> bool:
            with contextlib.suppress(ProcessLookupError):
                return self.process(name, process) != killed
            return False

        waiting.until(is_replaced, DEADLINE, f"pm-{process} of {name} runs again")

    def kill_all(self, name: str) -> None:
        self.lab.node(name).kill()
        self._running.pop(name, None)

    def kill_all_and_start(self, name: str) -> None:
        self.kill_all(name)
        time.sleep(0.2)  # until a service manager starts it again
        self.start(name)
        self.wait_for_master()

    def ask(self, name: str, *words: str) -> str:
        """Run a command on a director and return its output."""
        return self.lab.node(name).run(["pointsman", *words]).stdout

    def ask_anyway(self, name: str, *words: str) -> str:
        """Run a command on a director, whatever its exit code is, and return its output."""
        return self.lab.node(name).run(["pointsman", *words], check=False).stdout

    def power_off(self, name: str) -> None:
        self.lab.node(name).power_off()
        self._running.pop(name, None)

    def power_cycle(self, *names: str) -> None:
        for name in names:
            self.power_off(name)
        for name in names:
            self.lab.node(name).power_on()
        for name in names:
            self.start(name)
        self.wait_for_master()

    # Clients

    def connect(self, count: int) -> None:
        """Open the connections; return when all of them have got an answer."""
        client = self.lab.node("client")
        words = [sys.executable, str(_HERE / "client.py"), ha_pair.VIP, str(PORT), str(count)]
        with client.entered():
            self._client = subprocess.Popen(
                [*words, *ha_pair.CLIENT_ADDRESSES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
                start_new_session=True,
            )
        assert self._hear() == "established", "the connections are established"

    def _hear(self) -> str:
        assert self._client and self._client.stdout
        return self._client.stdout.readline().strip()

    def _tell(self, word: str) -> str:
        assert self._client and self._client.stdin
        self._client.stdin.write(f"{word}\n")
        self._client.stdin.flush()
        return self._hear()

    def outcome(self, event: Callable[[], object], quiet: float, answer: float = 3.0) -> Outcome:
        """Let the event happen and return what the connections saw.

        `quiet`: seconds from the event's end until the idle connections ask; they get `answer` seconds.
        """
        self._tell("report")
        event()
        time.sleep(quiet)
        self._tell("idle")
        time.sleep(answer)
        found = json.loads(self._tell("report"))
        return Outcome(**found | {"errors": tuple(found["errors"])})

    def disconnect(self) -> None:
        if self._client:
            self._client.kill()
            self._client.wait()
            self._client = None


@contextlib.contextmanager
def pair(prefix: str, kind: Kind, preempt: bool = False) -> Iterator[Pair]:
    """Build the lab without directors for a `with` block."""
    with Lab("ha-pair", prefix=prefix, directors=False) as lab:
        made = Pair(lab, kind, preempt)
        try:
            yield made
        finally:
            made.disconnect()


def route_vip(lab: Lab, directors: Iterable[str]) -> None:
    """Let the router send the VIP's flows to these directors, chosen by addresses and ports."""
    router = lab.node("router")
    router.sysctl("net.ipv4.fib_multipath_hash_policy", "1")
    hops = [word for address in directors for word in ("nexthop", "via", address, "dev", "ens224")]
    router.run(["ip", "route", "replace", f"{ha_pair.VIP}/32", *hops])


def other_abi(folder: Path) -> Path:
    """Build a package whose maps have another ABI in this folder. Return the folder for PYTHONPATH."""
    project = Path(__file__).parents[3]
    for part in ("src", "bpf"):
        shutil.copytree(project / part, folder / part)
    header = folder / "bpf" / "abi.h"
    text = header.read_text()
    header.write_text(text.replace("ABI_REVISION = ", "ABI_REVISION = 1000 + "))
    subprocess.run(["make", "-s", "-C", str(folder / "bpf")], check=True)
    return folder / "src"
