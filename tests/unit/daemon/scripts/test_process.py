# SPDX-License-Identifier: Apache-2.0
"""The process that runs programs: no program waits for another kind, and what was said last is done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from pointsman.control import messages
from pointsman.control.vrrp_messages import NotifyEvent, tracker_value_decoder
from pointsman.daemon.process_list import runs_programs
from pointsman.daemon.runtime.config_history import for_scripts, send_config
from pointsman.daemon.scripts.process import ScriptsProcess
from pointsman.model.checks import MiscCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import RealServer, ServerKey, ServiceKey, Transport, VirtualService
from pointsman.model.tracking import Command, NotifyFifo, TrackFile, TrackKind, VrrpSurroundings
from pointsman.model.vrrp import VrrpInstance

configured = partial(Config, router_id="lb-01")
INSTANCE = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51)
ENOUGH = 20.0
SERVICE = ServiceKey.of(Transport.TCP, ip_address("10.9.0.1"), 80)
"""Seconds that anything here may take on a busy machine."""


def server(*checks: MiscCheck, quorum_up: Command | None = None) -> VirtualServer:
    member = PoolMember(server=RealServer(key=ServerKey(ip_address("10.9.0.7"), 80)), checks=checks)
    return VirtualServer(service=VirtualService(key=SERVICE), members=(member,), quorum_up_command=quorum_up)


def shell(script: str) -> Command:
    return Command(("/bin/sh", "-c", script))


class Running:
    """The process as a task, with the other ends of its channels."""

    def __init__(self, config: Config) -> None:
        self.vrrp, of_vrrp = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.director, of_director = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.vrrp.setblocking(False)
        self.director.setblocking(False)
        self._ends = (self.vrrp, self.director, of_vrrp, of_director)
        self._task = asyncio.create_task(ScriptsProcess(for_scripts(config), of_vrrp, of_director).run())

    def notify(self, name: str, *commands: Command) -> None:
        """VRRP says that an instance is master."""
        self.vrrp.send(msgspec.json.encode(NotifyEvent("INSTANCE", name, "MASTER", 100, commands)))

    def order(self, order: messages.RunProgram | messages.TellServers) -> None:
        """The director wants something to be done."""
        self.director.send(messages.encode(order))

    def reload(self, config: Config) -> None:
        send_config(self.director, for_scripts(config))

    async def result(self) -> messages.CheckResult:
        """Return the next check result."""
        loop = asyncio.get_running_loop()
        while True:
            data = await asyncio.wait_for(loop.sock_recv(self.director, 65536), ENOUGH)
            if isinstance(report := messages.scripts_report_decoder.decode(data), messages.CheckResult):
                return report

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.wait_for(self._task, ENOUGH)

    def close(self) -> None:
        self._task.cancel()
        for each in self._ends:
            each.close()


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Running]:
    """Ready to be told and to be stopped."""
    before = signal.getsignal(signal.SIGTERM)
    process = Running(config)
    try:
        await until(lambda: signal.getsignal(signal.SIGTERM) is not before)
        yield process
    finally:
        process.close()
        signal.signal(signal.SIGTERM, before)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENOUGH):
        while not condition():
            await asyncio.sleep(0.005)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def fifo(word: str, tmp_path: Path, reader: Command | None = None) -> NotifyFifo:
    return NotifyFifo(word=word, path=str(tmp_path / word), reader=reader)


def test_what_was_said_last_is_done_at_the_stop(tmp_path: Path) -> None:
    said = tmp_path / "said"
    config = configured(instances=(INSTANCE,), virtual_servers=(server(quorum_up=shell("true")),))

    async def body() -> None:
        async with running(config) as process:
            for number in range(5):
                process.order(messages.RunProgram(shell(f"echo server{number} >> {said}"), SERVICE))
                process.notify(f"VI_{number}", shell(f"echo vrrp{number} >> {said}"))
            assert await process.stop() == 0

    asyncio.run(body())
    assert [line for line in lines(said) if "server" in line] == [f"server{number}" for number in range(5)]
    assert sorted(line for line in lines(said) if "vrrp" in line) == [f"vrrp{number}" for number in range(5)]


def test_no_program_waits_for_one_of_another_owner(tmp_path: Path) -> None:
    """Each of them runs until all of them run: with any delay none would ever end."""
    here = tmp_path / "here"
    here.mkdir()

    def meets(name: str) -> Command:
        return shell(f"touch {here}/{name}; until [ $(ls {here} | wc -l) = 6 ]; do sleep 0.02; done; exit 0")

    check = MiscCheck(
        command=meets("check"), timeout=ENOUGH, delay_loop=60.0, delay_before_retry=1.0, retry=0
    )
    config = configured(
        instances=(INSTANCE,), virtual_servers=(server(msgspec.structs.replace(check, warmup=0.0)),)
    )

    async def body() -> None:
        async with running(config) as process:
            process.order(
                messages.RunProgram(meets("server"), SERVICE, ServerKey(ip_address("10.9.0.7"), 80))
            )
            process.order(messages.RunProgram(meets("other"), SERVICE, ServerKey(ip_address("10.9.0.8"), 80)))
            process.order(messages.RunProgram(meets("quorum"), SERVICE))
            process.notify("VI_1", meets("one"))
            process.notify("VI_2", meets("two"))
            assert (await process.result()).up
            assert await process.stop() == 0

    asyncio.run(body())


def test_the_scripts_of_one_instance_run_in_their_order(tmp_path: Path) -> None:
    said = tmp_path / "said"

    async def body() -> None:
        async with running(configured(instances=(INSTANCE,))) as process:
            process.notify("VI_1", shell(f"sleep 0.2; echo first >> {said}"), shell(f"echo second >> {said}"))
            process.notify("VI_1", shell(f"echo third >> {said}"))
            await until(lambda: len(lines(said)) == 3)
            await process.stop()

    asyncio.run(body())
    assert lines(said) == ["first", "second", "third"]


def test_each_pipe_gets_its_own_lines_and_the_common_one_all(tmp_path: Path) -> None:
    def reader(word: str) -> Command:
        return Command(
            ("/bin/sh", "-c", f'while read -r line; do echo "$line"; done < "$0" >> {tmp_path}/of_{word}')
        )

    common, of_vrrp, of_servers = (
        fifo(word, tmp_path, reader(word)) for word in ("notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo")
    )
    config = configured(
        instances=(INSTANCE,),
        virtual_servers=(server(),),
        server_fifos=(common, of_servers),
        vrrp=VrrpSurroundings(fifos=(common, of_vrrp)),
    )

    async def body() -> None:
        async with running(config) as process:
            process.notify("VI_1")
            process.order(messages.TellServers("VS one UP"))
            process.reload(msgspec.structs.replace(config, virtual_servers=()))
            process.order(messages.TellServers("VS two DOWN"))
            names = ("notify_fifo", "vrrp_notify_fifo", "lvs_notify_fifo")
            wanted = (3, 1, 2)
            await until(
                lambda: all(
                    len(text(tmp_path / f"of_{name}")) == count
                    for name, count in zip(names, wanted, strict=True)
                )
            )
            await process.stop()

    asyncio.run(body())
    vrrp, one, two = 'INSTANCE "VI_1" MASTER 100', "VS one UP", "VS two DOWN"
    assert sorted(text(tmp_path / "of_notify_fifo")) == [vrrp, one, two]
    assert text(tmp_path / "of_vrrp_notify_fifo") == [vrrp]
    assert text(tmp_path / "of_lvs_notify_fifo") == [one, two]


def test_a_line_that_comes_right_behind_a_reload_goes_to_the_new_pipe(tmp_path: Path) -> None:
    """As the director tells it: the configuration, then what has become of the services in it."""
    new = fifo("lvs_notify_fifo", tmp_path, shell(f'cat < "$0" >> {tmp_path}/told'))
    config = configured(virtual_servers=(server(quorum_up=shell("true")),))

    async def body() -> None:
        async with running(config) as process:
            process.reload(msgspec.structs.replace(config, server_fifos=(new,)))
            process.order(messages.TellServers("VS one UP"))
            await until(lambda: text(tmp_path / "told") == ["VS one UP"])
            await process.stop()

    asyncio.run(body())


def test_lines_about_the_end_of_the_last_instance_are_written(tmp_path: Path) -> None:
    """The configuration without instances comes before what VRRP says about them."""
    told = fifo("vrrp_notify_fifo", tmp_path, shell(f'cat < "$0" >> {tmp_path}/told'))
    config = configured(
        instances=(INSTANCE,),
        virtual_servers=(server(quorum_up=shell("true")),),
        vrrp=VrrpSurroundings(fifos=(told,)),
    )

    async def body() -> None:
        async with running(config) as process:
            process.notify("A")
            await until(lambda: text(tmp_path / "told") == ['INSTANCE "A" MASTER 100'])
            process.reload(msgspec.structs.replace(config, instances=()))
            process.order(messages.TellServers("behind the reload"))
            process.notify("A")
            await until(lambda: len(text(tmp_path / "told")) == 2)
            await process.stop()

    asyncio.run(body())


def text(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_without_instances_nothing_of_vrrp_is_opened_or_watched(tmp_path: Path) -> None:
    watched = TrackFile(name="load", path=str(tmp_path / "load"), initial=5)
    config = configured(
        virtual_servers=(server(),),
        server_fifos=(fifo("lvs_notify_fifo", tmp_path),),
        vrrp=VrrpSurroundings(fifos=(fifo("vrrp_notify_fifo", tmp_path),), files=(watched,)),
    )

    async def body() -> list[str]:
        async with running(config) as process:
            names = [path.name for path in tmp_path.iterdir()]
            await process.stop()
            return names

    assert asyncio.run(body()) == ["lvs_notify_fifo"]


def test_a_reload_changes_what_is_tracked(tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    one.write_text("1")
    two.write_text("2")
    before, after = (
        configured(
            instances=(INSTANCE,),
            vrrp=VrrpSurroundings(files=(TrackFile(name=path.name, path=str(path)),)),
        )
        for path in (one, two)
    )

    async def body() -> list[tuple[TrackKind, str, int | None]]:
        async with running(before) as process:
            loop = asyncio.get_running_loop()
            found = []
            for config in (after, after):
                data = await asyncio.wait_for(loop.sock_recv(process.vrrp, 65536), ENOUGH)
                value = tracker_value_decoder.decode(data)
                found.append((value.kind, value.name, value.value))
                process.reload(config)
            process.vrrp.send(msgspec.json.encode(messages.Resync()))
            data = await asyncio.wait_for(loop.sock_recv(process.vrrp, 65536), ENOUGH)
            value = tracker_value_decoder.decode(data)
            found.append((value.kind, value.name, value.value))
            await process.stop()
            return found

    assert asyncio.run(body()) == [
        (TrackKind.FILE, "one", 1),
        (TrackKind.FILE, "two", 2),
        (TrackKind.FILE, "two", 2),
    ]


SERVERS_FIFO = NotifyFifo(word="lvs_notify_fifo", path="/f")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (configured(), False),
        (configured(virtual_servers=(server(),)), False),
        (configured(virtual_servers=(server(quorum_up=shell("true")),)), True),
        (configured(virtual_servers=(server(MiscCheck(command=shell("true"))),)), True),
        (configured(server_fifos=(SERVERS_FIFO,)), False),
        (
            configured(virtual_servers=(server(),), server_fifos=(SERVERS_FIFO,)),
            True,
        ),
        (configured(vrrp=VrrpSurroundings(files=(TrackFile(name="f", path="/f"),))), False),
        (
            configured(instances=(INSTANCE,), vrrp=VrrpSurroundings(files=(TrackFile(name="f", path="/f"),))),
            True,
        ),
    ],
)
def test_it_runs_only_when_there_is_something_for_it(config: Config, expected: bool) -> None:
    assert runs_programs(config) is expected
