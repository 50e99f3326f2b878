"""The process that runs what VRRP wants to have run: tracked scripts, notify scripts, FIFOs.

It is a process of its own so that no program, however long it takes, can delay an advert; and because VRRP
has given up the rights that such programs need. Tracked files and processes are looked at here, too.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Sequence

import msgspec

from pointsman.control.messages import Resync, scripts_order_decoder
from pointsman.control.vrrp_messages import Finished, NotifyEvent, TrackerValue, notice_decoder
from pointsman.daemon.channels import Inbox
from pointsman.daemon.scripts import run as run_program
from pointsman.daemon.scripts.fifo import Fifos
from pointsman.daemon.scripts.proc_connector import ProcessEvents
from pointsman.daemon.scripts.tracked import ProcessTable, ProcessWatch, file_value, prepare
from pointsman.model.diff import same
from pointsman.model.tracking import Command, TrackKind, TrackScript, VrrpSurroundings
from pointsman.net.netlink import NetlinkOverrunError
from pointsman.vrrp.rise_fall import RiseFall

log = logging.getLogger("scripts")

FILE_SPACING, PROCESS_SPACING = 0.2, 1.0
"""Seconds between two looks at the tracked files, and at all processes where the kernel tells nothing."""
NOTIFY_TURN = 30.0
"""Seconds that a notify script may take before the next one of the same instance is started beside it."""
STOP_TIME = 4.0
"""Seconds for VRRP to say its last word at a stop, and again for the programs that this starts."""
_STATES = {"MASTER", "BACKUP", "FAULT"}
_ENDS = {"STOP", "DELETED"}


def run(surroundings: VrrpSurroundings, channel: socket.socket, orders: socket.socket) -> int:
    """The body of the process: work until SIGTERM and the last notice. Always 0.

    `channel` leads to VRRP; from `orders` come the director's new configurations.
    """
    asyncio.run(Helper(surroundings, channel, orders).run())
    return 0


class Helper:
    """Runs programs for VRRP, and tells it what the trackers say."""

    def __init__(self, surroundings: VrrpSurroundings, channel: socket.socket, orders: socket.socket) -> None:
        self._settings = surroundings
        self._channel = channel
        self._notices = Inbox(channel, notice_decoder, "VRRP process", log)
        self._orders = Inbox(orders, scripts_order_decoder, "director", log)
        self._said: dict[tuple[TrackKind, str], int] = {}
        self._queues: dict[tuple[str, str], collections.deque[NotifyEvent]] = {}
        self._turns: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._fifos = Fifos(self._start)
        self._states: dict[tuple[str, str], str] = {}
        """The last line about each instance and group."""
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Work until SIGTERM, the last notice, and the end of what it has started."""
        loop = asyncio.get_running_loop()
        stop, changed = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._hear)
        loop.add_reader(self._orders.channel, self._take_order, changed)
        while not stop.is_set():
            changed.clear()
            await self._work_until(stop, changed)
        if self._turns:
            await asyncio.wait(self._turns.values(), timeout=STOP_TIME)
        await self._fifos.close()

    async def _work_until(self, stop: asyncio.Event, changed: asyncio.Event) -> None:
        """One configuration's time."""
        await self._fifos.use(self._settings.fifos)
        work: list[Coroutine[None, None, None]] = [self._watch(script) for script in self._settings.scripts]
        work += [self._look_at_files(), self._look_at_processes()]
        tasks = [asyncio.create_task(each) for each in work]
        ends = [asyncio.create_task(event.wait()) for event in (stop, changed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), STOP_TIME)
        for task in (*tasks, *ends):
            task.cancel()
        await asyncio.gather(*tasks, *ends, return_exceptions=True)

    def _take_order(self, changed: asyncio.Event) -> None:
        """A new configuration; what is not about VRRP's surroundings changes nothing here."""
        order = self._orders.receive()
        if order is not None and order.config is not None:
            settings = order.config.vrrp
            if settings.states_on_reload:
                for line in self._states.values():
                    self._fifos.write(line)
            if not same(settings, self._settings):
                self._settings = settings
                self._said.clear()
                changed.set()
        elif self._orders.closed:
            asyncio.get_running_loop().remove_reader(self._orders.channel)

    async def _start(self, command: Command, more: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        return await run_program.start(
            command,
            more,
            user=self._settings.script_user,
            group=self._settings.script_group,
            security=self._settings.script_security,
        )

    # trackers

    def _tell(self, kind: TrackKind, name: str, value: int) -> None:
        if self._said.get((kind, name)) != value:
            self._said[kind, name] = value
            log.info("tracked %s %s: %d", kind.value, name, value)
            self._send(kind, name, value)

    def _tell_all(self) -> None:
        for (kind, name), value in self._said.items():
            self._send(kind, name, value)

    def _send(self, kind: TrackKind, name: str, value: int) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(msgspec.json.encode(TrackerValue(kind, name, value)))

    async def _watch(self, script: TrackScript) -> None:
        """Run a tracked script every interval; it never overlaps itself."""
        counter = RiseFall(script.rise, script.fall, script.init_fail)
        while True:
            began = time.monotonic()
            try:
                process = await self._start(script.command)
                try:
                    code = await run_program.finish(process, script.timeout)
                except asyncio.CancelledError:
                    await run_program.end(process)
                    raise
            except run_program.CannotRunError as problem:
                log.error("vrrp_script %s: %s", script.name, problem)
                return
            verdict = counter.result(code == 0)
            if verdict is not None:
                self._tell(TrackKind.SCRIPT, script.name, int(verdict))
            await asyncio.sleep(max(0.0, began + script.interval - time.monotonic()))

    async def _look_at_files(self) -> None:
        for tracked in self._settings.files:
            prepare(tracked)
        while self._settings.files:
            for tracked in self._settings.files:
                self._tell(TrackKind.FILE, tracked.name, file_value(tracked))
            await asyncio.sleep(FILE_SPACING)

    async def _look_at_processes(self) -> None:
        """Follow the kernel's events; where there are none, look again and again."""
        tracked = self._settings.processes
        if not tracked:
            return
        table, watches = ProcessTable(tracked), [ProcessWatch(each) for each in tracked]
        try:
            events = ProcessEvents()
        except OSError as error:
            log.info("processes are looked at every %g s, no events: %s", PROCESS_SPACING, error.strerror)
            while True:
                table.look()
                self._judge(watches, table)
                await asyncio.sleep(PROCESS_SPACING)
        table.look()
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(events, news.set)
        try:
            while True:
                held_back = self._judge(watches, table)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(held_back):  # wait_for could forget that it was cancelled
                        await news.wait()
                news.clear()
                _follow(events, table)
        finally:
            loop.remove_reader(events)
            events.close()

    def _judge(self, watches: Sequence[ProcessWatch], table: ProcessTable) -> float | None:
        """Tell what has changed. Seconds until a change that is held back is due; None: there is none."""
        now = time.monotonic()
        for watch in watches:
            verdict = watch.look(now, table.lines)
            if verdict is not None:
                self._tell(TrackKind.PROCESS, watch.tracked.name, int(verdict))
        deadlines = (watch.deadline for watch in watches)
        first = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if first is None else max(0.0, first - now)

    # notices

    def _hear(self) -> None:
        while (message := self._notices.receive()) is not None:
            match message:
                case Finished():
                    self._finished.set()
                case Resync():
                    self._tell_all()
                case NotifyEvent():
                    self._take(message)
        if self._notices.closed:
            asyncio.get_running_loop().remove_reader(self._channel)

    def _take(self, notice: NotifyEvent) -> None:
        line = f'{notice.kind} "{notice.name}" {notice.state} {notice.priority}'
        self._fifos.write(line)
        if notice.state in _STATES:
            self._states[notice.kind, notice.name] = line
        elif notice.state in _ENDS:
            self._states.pop((notice.kind, notice.name), None)
        if notice.commands or notice.with_arguments:
            key = (notice.kind, notice.name)
            self._queues.setdefault(key, collections.deque()).append(notice)
            if key not in self._turns:
                self._turns[key] = asyncio.create_task(self._serve(key))

    async def _serve(self, key: tuple[str, str]) -> None:
        """The notices of one instance, in their order."""
        queue = self._queues[key]
        while queue:
            notice = queue.popleft()
            for command in notice.commands:
                await self._notify(command, ())
            if notice.with_arguments:
                more = (notice.kind, notice.name, notice.state, str(notice.priority))
                await self._notify(notice.with_arguments, more)
        del self._turns[key]

    async def _notify(self, command: Command, more: tuple[str, ...]) -> None:
        try:
            process = await self._start(command, more)
            code = await asyncio.wait_for(process.wait(), NOTIFY_TURN)
        except run_program.CannotRunError as problem:
            log.error("notify: %s", problem)
        except TimeoutError:
            log.warning("notify: %s still runs after %.0f s", command.words[0], NOTIFY_TURN)
        else:
            if code:
                log.warning("notify: %s ended with code %d", " ".join((*command.words, *more)), code)


def _follow(events: ProcessEvents, table: ProcessTable) -> None:
    try:
        for event in events.read():
            table.follow(event)
    except NetlinkOverrunError:
        log.info("more happened to processes than could be followed: looking at all of them")
        table.look()
