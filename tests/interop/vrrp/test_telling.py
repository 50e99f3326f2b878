# SPDX-License-Identifier: Apache-2.0
"""Whom VRRP tells: one story told by keepalived and by us, in two worlds; the same lines and arguments."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.director_process import Director, script
from tests.support.until import until
from tests.support.vrrp.keepalived import Keepalived
from tests.support.vrrp.switch import Capture, Host, Switch, switch

from pointsman.daemon.vrrp.advert_socket import AdvertSocket
from pointsman.lab import namespace
from pointsman.model.vrrp import VirtualAddress, VrrpInstance
from pointsman.net.links import links
from pointsman.net.netlink import NetlinkSocket
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.wire import GROUP, encode

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROGRAMS = ("every", "grouped", "master", "backup", "fault", "stop", "lower")
FIFOS = {"all": "notify_fifo", "vrrp": "vrrp_notify_fifo"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


def configuration(folder: Path) -> str:
    return f"""
    global_defs {{
        script_user root
        vrrp_notify_priority_changes on
        notify_fifo {folder}/all
        vrrp_notify_fifo {folder}/vrrp
    }}
    vrrp_script fit {{
        script "/usr/bin/test -e {folder}/fit"
        interval 1
    }}
    track_file load {{
        file {folder}/load
        weight 2
    }}
    vrrp_sync_group G {{
        group {{
            VI_1
        }}
        notify {folder}/every
        notify_master {folder}/grouped
    }}
    vrrp_instance VI_1 {{
        interface eth0
        virtual_router_id 1
        version 3
        advert_int 0.2
        virtual_ipaddress {{
            10.9.0.100/24 dev eth0
        }}
        track_script {{
            fit
        }}
        notify {folder}/every
        notify_master "{folder}/master with 'two words'"
        notify_backup {folder}/backup
        notify_fault {folder}/fault
        notify_stop {folder}/stop
        notify_master_rx_lower_pri {folder}/lower
    }}
    vrrp_instance VI_2 {{
        interface eth0
        virtual_router_id 2
        version 3
        advert_int 0.2
        virtual_ipaddress {{
            10.9.0.102/24 dev eth0
        }}
        track_file {{
            load
        }}
        notify {folder}/every
    }}
    """


class NotifyRecorder:
    """Recorder of the FIFO lines and program arguments of a director with its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o755)
        (folder / "fit").touch()
        (folder / "load").write_text("0\n")
        for name in PROGRAMS:
            script(folder / name, f'echo "{name} $*" >> {folder}/told')
        self._pipes: dict[str, int] = {}
        self.lines: dict[str, list[str]] = {name: [] for name in FIFOS}

    def listen(self) -> None:
        for name in FIFOS:
            until(f"the FIFO {name} is there", (self.folder / name).exists)
            self._pipes[name] = os.open(self.folder / name, os.O_RDONLY | os.O_NONBLOCK)

    def hears(self, line: str, times: int = 1) -> bool:
        for name, pipe in self._pipes.items():
            with contextlib.suppress(BlockingIOError):
                self.lines[name] += os.read(pipe, 65536).decode().splitlines()
        return self.lines["vrrp"].count(line) >= times

    def told(self) -> list[str]:
        """Return the arguments of the programs, sorted because programs may run in parallel."""
        path = self.folder / "told"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def close(self) -> None:
        for pipe in self._pipes.values():
            os.close(pipe)


def advertise(host: Host, priority: int) -> None:
    rival = VrrpInstance(
        name="rival",
        interface="eth0",
        virtual_router_id=1,
        version=3,
        advert_interval=0.2,
        addresses=(
            VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0"),
        ),
    )
    with namespace.entered(host.namespace), NetlinkSocket() as netlink:
        sender = AdvertSocket(links(netlink)["eth0"], None)
    sender.send(encode(build_advert(rival, priority), host.address, GROUP), host.address, GROUP)
    sender.close()


def tell_the_story(recorder: NotifyRecorder, rival: Host, director: Director | Keepalived) -> None:
    """Everything that there is to tell; the end included."""
    both = 'INSTANCE "VI_2" MASTER 100', 'GROUP "G" MASTER 0'
    until("all are masters", lambda: recorder.hears(both[0]) and recorder.hears(both[1]))
    for times in (1, 2):
        time.sleep(0.2)  # ours tells of ten a second at most
        advertise(rival, 50)
        until("a rival is told", lambda t=times: recorder.hears('INSTANCE "VI_1" MASTER_RX_LOWER_PRI 100', t))  # type: ignore[misc]
    (recorder.folder / "load").write_text("-7\n")
    until("a priority is told", lambda: recorder.hears('INSTANCE "VI_2" MASTER_PRIORITY 86'))
    (recorder.folder / "fit").unlink()
    until("a fault is told", lambda: recorder.hears('GROUP "G" FAULT 0'))
    (recorder.folder / "fit").touch()
    until("a recovery is told", lambda: recorder.hears(both[1], 2))
    advertise(rival, 200)
    until("a better router is told", lambda: recorder.hears('GROUP "G" BACKUP 0', 3))
    until("its end is told", lambda: recorder.hears(both[1], 3))
    (recorder.folder / "load").write_text("0\n")
    until("a priority is told again", lambda: recorder.hears('INSTANCE "VI_2" MASTER_PRIORITY 100'))
    director.stop()
    until("the end is told", lambda: recorder.hears('GROUP "G" STOP 0'))


def by_name(lines: list[str]) -> dict[str, list[str]]:
    """Return the lines by instance and group; the order between them is not compared."""
    return {name: [line for line in lines if name in line] for name in ('"VI_1"', '"VI_2"', '"G"')}


def test_the_same_story_makes_the_same_lines_and_arguments(made: Switch, tmp_path: Path) -> None:
    recorders = {}
    for who, number in (("ours", 1), ("theirs", 3)):
        host, rival = (
            made.host(f"d{number}", f"10.9.0.{number}/24"),
            made.host(f"r{number}", f"10.9.0.{number + 1}/24"),
        )
        recorder = recorders[who] = NotifyRecorder(tmp_path / who)
        text = configuration(recorder.folder)
        started = Director(host, tmp_path, text) if who == "ours" else Keepalived(host, tmp_path, text)
        recorder.listen()
        tell_the_story(recorder, rival, started)
    ours, theirs = recorders["ours"], recorders["theirs"]
    for name in FIFOS:
        assert by_name(ours.lines[name]) == by_name(theirs.lines[name])
        assert len(ours.lines[name]) == len(theirs.lines[name]) > 20
        until("the FIFO is gone", lambda path=ours.folder / name: not path.exists())  # type: ignore[misc]
    until("their programs have ended", lambda: len(theirs.told()) >= len(ours.told()))
    assert [line.rstrip() for line in ours.told()] == [line.rstrip() for line in theirs.told()]
    for recorder in recorders.values():
        recorder.close()


def test_hanging_programs_delay_no_advert(made: Switch, tmp_path: Path) -> None:
    """Notify scripts, tracked scripts, a FIFO that nobody reads, its reader: all hang."""
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    hang = script(tmp_path / "hang", f"echo $$ >> {tmp_path}/pids; trap '' TERM; sleep 30")
    director = Director(
        a,
        tmp_path,
        f"""
        global_defs {{
            script_user root
            notify_fifo {tmp_path}/fifo
            notify_fifo_script {hang}
        }}
        vrrp_script never {{
            script {hang}
            interval 1
            weight 5
        }}
        vrrp_instance VI_1 {{
            interface eth0
            virtual_router_id 1
            version 3
            advert_int 0.1
            virtual_ipaddress {{
                10.9.0.100/24
            }}
            track_script {{
                never
            }}
            notify {hang}
            notify_master {hang}
            notify_master_rx_lower_pri {hang}
        }}
        """,
    )
    capture = Capture(made, a)
    until("it is master", lambda: director.state() == "MASTER")
    began, before = time.monotonic(), len(capture.adverts())
    while time.monotonic() < began + 2.0:
        advertise(b, 50)
        time.sleep(0.05)
        capture.adverts()
    count = len(capture.adverts()) - before
    assert count > 18, "one each 100 ms, and the answers to the rival"
    assert director.state() == "MASTER"
    director.process.kill()
    director.process.wait()
    for leader in (tmp_path / "pids").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(leader), signal.SIGKILL)


def test_a_reload_tells_what_it_deletes_and_all_states_where_that_is_wanted(
    made: Switch, tmp_path: Path
) -> None:
    a = made.host("a", "10.9.0.1/24")
    recorder = NotifyRecorder(tmp_path / "ours")
    text = configuration(recorder.folder)
    director = Director(a, tmp_path, text.replace("script_user root", "fifo_write_vrrp_states_on_reload"))
    recorder.listen()
    until("all are masters", lambda: recorder.hears('GROUP "G" MASTER 0'))
    until("all are masters", lambda: recorder.hears('INSTANCE "VI_2" MASTER 100'))
    without = re.sub(r"vrrp_instance VI_2 .*", "", director.conf.read_text(), flags=re.DOTALL)
    director.conf.write_text(without)
    assert director.ask("reload").returncode == 0
    until("the deleted one is told", lambda: recorder.hears('INSTANCE "VI_2" FAULT 100'))
    until("the state of the other is told again", lambda: recorder.hears('INSTANCE "VI_1" MASTER 100', 2))
    assert director.stop() == 0
    assert recorder.lines["all"] == recorder.lines["vrrp"]
    recorder.close()


def test_a_pipe_for_all_is_told_of_servers_too(made: Switch, tmp_path: Path) -> None:
    """The words are those of keepalived.conf(5); its own checker does not run here, as ip_vs is missing."""
    a, b = made.host("a", "10.9.0.1/24"), made.host("b", "10.9.0.2/24")
    pipes = [tmp_path / name for name in ("all", "lvs")]
    director = Director(
        a,
        tmp_path,
        f"""
        global_defs {{
            script_user root
            notify_fifo {pipes[0]}
            notify_fifo_script "/bin/sleep 1000"
            lvs_notify_fifo {pipes[1]}
        }}
        virtual_server 10.9.0.200 80 {{
            protocol TCP
            lvs_sched rr
            lvs_method DR
            delay_loop 0.3
            real_server 10.9.0.2 80 {{
                TCP_CHECK {{
                    connect_timeout 1
                    retry 0
                }}
            }}
        }}
        """,
    )
    lines: dict[Path, list[str]] = {pipe: [] for pipe in pipes}

    def heard(line: str) -> bool:
        for pipe, descriptor in descriptors.items():
            with contextlib.suppress(BlockingIOError):
                lines[pipe] += os.read(descriptor, 65536).decode().splitlines()
        return lines[pipes[0]][-1:] == [line] and lines[pipes[1]][-1:] == [line]

    for pipe in pipes:
        until("the pipe is there", pipe.exists)
    descriptors = {pipe: os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in pipes}
    service, server = "VS [10.9.0.200]:tcp:80", "RS [10.9.0.2]:tcp:80 [10.9.0.200]:tcp:80"
    until("nobody listens", lambda: heard(f"{service} DOWN"))
    b.start("python3", "-m", "http.server", "80")
    until("somebody listens", lambda: heard(f"{service} UP"))
    assert director.stop() == 0
    for pipe in pipes:
        assert lines[pipe][-4:] == [f"{server} DOWN", f"{service} DOWN", f"{server} UP", f"{service} UP"]
        assert not pipe.exists()
    for descriptor in descriptors.values():
        os.close(descriptor)
