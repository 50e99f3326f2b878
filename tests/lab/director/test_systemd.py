# SPDX-License-Identifier: Apache-2.0
"""The units under systemd itself: process 1 of namespaces of its own, over this machine's file system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.until import DEADLINE

PROJECT = Path(__file__).parents[3]
BOOT = Path(__file__).with_name("boot-systemd")
ENVIRONMENT = Path(sys.prefix)
SYSTEMD = Path("/usr/lib/systemd/systemd")
NAMESPACES = ("pid", "mount", "net", "uts", "ipc", "cgroup")
VIP = "192.168.100.9"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

INTERFACES = f"""
ip link add ens224 type veth peer name wire
ip link set wire up
cat > /etc/network/interfaces <<'END'
auto lo
iface lo inet loopback
source /etc/network/interfaces.d/*
END
cat > /etc/network/interfaces.d/ens224 <<'END'
auto ens224
iface ens224 inet static
    address 192.168.100.20/26
END
{PROJECT}/scripts/install --environment {ENVIRONMENT}
"""


def cgroup_root() -> Path | None:
    """The mount point of cgroup v2."""
    for line in Path("/proc/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2" and os.access(fields[1], os.W_OK):
            return Path(fields[1])
    return None


class Machine:
    """A machine that systemd runs."""

    def __init__(self, folder: Path, prepare: str) -> None:
        root = cgroup_root()
        assert root is not None
        self.log = folder / "console.log"
        script = folder / "prepare.sh"
        script.write_text(prepare)
        work = folder / "machine"
        work.mkdir()
        self.cgroup = root / f"pmt-systemd-{os.getpid()}-{folder.name}"
        self.cgroup.mkdir()
        (folder / "start").write_text(f'echo $$ > {self.cgroup}/cgroup.procs\nexec "$@"\n')
        unshare = ["unshare", "--fork", "--kill-child", *(f"--{kind}" for kind in NAMESPACES)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", folder / "start", *unshare, BOOT, work, PROJECT, script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.init = ""

    def wait_for_boot(self) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.wait(lambda: bool(children.read_text().split()), "process 1")
        self.init = children.read_text().split()[0]
        self.wait(lambda: self.comm() == "systemd", "systemd")
        states = ("running", "degraded")
        self.wait(lambda: self.run("systemctl is-system-running").stdout.strip() in states, "end of the boot")

    def comm(self) -> str:
        try:
            return Path(f"/proc/{self.init}/comm").read_text().strip()
        except OSError:
            return "dead"

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the machine died: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"no {what} after {seconds} s: {self.journal()}"
            time.sleep(0.05)

    def journal(self) -> str:
        if not self.init:
            return self.log.read_text()[-2000:]
        return self.run("journalctl --no-pager -o cat -n 30 -u 'pointsman*'").stdout

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "-t", self.init, "-a", "--root", "--wd=/", "sh", "-c", command],
            env={**os.environ, "PATH": PATH},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def ok(self, command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, what: str) -> str:
        return self.ok(f"systemctl show --value -p {what} {unit}").strip()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        (self.cgroup / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + DEADLINE
        while "populated 1" in (self.cgroup / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            Path(folder).rmdir()


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    if not SYSTEMD.exists() or shutil.which("nsenter") is None:
        pytest.skip("systemd is not installed")
    if cgroup_root() is None:
        pytest.skip("cgroup v2 is not mounted writable here: systemd cannot run without it")
    machines = []

    def start(prepare: str) -> Machine:
        machine = Machine(tmp_path, prepare)
        machines.append(machine)
        machine.wait_for_boot()
        return machine

    yield start
    for machine in machines:
        machine.stop()


def test_units_are_right_to_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "pointsman"
    program.symlink_to("/bin/true")
    for unit in (PROJECT / "systemd").glob("*.service"):
        text = unit.read_text()
        (tmp_path / unit.name).write_text(text.replace("/usr/local/bin/pointsman", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *tmp_path.glob("*.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.root
@pytest.mark.slow
def test_real_server_is_set_up_at_boot_before_its_network(boot: Callable[[str], Machine]) -> None:
    machine = boot(
        INTERFACES
        + f"sed -i 's/^VIPS=.*/VIPS=\"{VIP} fd00::9\"/' /etc/default/pointsman-realserver\n"
        + "systemctl --root=/ enable networking.service pointsman-realserver.service\n"
    )
    unit = "pointsman-realserver.service"
    assert machine.show(unit, "ActiveState") == "active"
    assert f"{VIP}/32" in machine.ok("ip -o address show dev lo")
    assert "192.168.100.20/26" in machine.ok("ip -o address show dev ens224")
    assert machine.run(f"pointsman realserver status {VIP} fd00::9").returncode == 0
    ready = int(machine.show(unit, "ActiveEnterTimestampMonotonic"))
    assert 0 < ready <= int(machine.show("networking.service", "InactiveExitTimestampMonotonic"))

    machine.ok(f"systemctl stop {unit}")
    assert VIP not in machine.ok("ip -o address show dev lo")
    assert machine.ok("cat /proc/sys/net/ipv4/conf/all/arp_ignore").strip() == "0"
    assert machine.ok("cat /proc/sys/net/ipv4/conf/all/arp_announce").strip() == "0"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("network", ["networking", "systemd-networkd"])
def test_persisted_files_hold_over_a_boot(boot: Callable[[str], Machine], network: str) -> None:
    machine = boot(
        INTERFACES
        + f"systemctl --root=/ enable {network}.service\n"
        # /proc/sys can be read only, but for net: systemd-sysctl would not even start.
        + "cd /etc/systemd/system && mkdir systemd-sysctl.service.d\n"
        + "printf '[Unit]\\nConditionPathIsReadWrite=\\n' > systemd-sysctl.service.d/net.conf\n"
        + f"pointsman realserver persist {VIP} fd00::9 --interface ens224\n"
    )
    folder = "/etc/network/interfaces.d" if network == "networking" else "/etc/systemd/network"
    assert "pointsman" in machine.ok(f"ls {folder}")
    machine.wait(lambda: "fd00::9" in machine.ok("ip -o address show dev lo"), f"VIP on lo by {network}")
    status = machine.run(f"pointsman realserver status {VIP} fd00::9")
    assert status.returncode == 0, status.stdout
    assert "/etc/sysctl.d/99-lvs-dr.conf" in status.stdout
    assert "127.0.0.1/8" in machine.ok("ip -o address show dev lo")


@pytest.mark.root
@pytest.mark.slow
def test_the_way_of_nft_holds_over_a_boot(boot: Callable[[str], Machine]) -> None:
    machine = boot(
        INTERFACES
        + "systemctl --root=/ enable networking.service pointsman-realserver.service\n"
        + f"pointsman realserver persist {VIP} --method nft\n"
    )
    assert machine.show("pointsman-realserver.service", "ActiveState") == "active"
    status = machine.run("pointsman realserver status")
    assert status.returncode == 0, status.stdout
    assert "nftables table arp pointsman  as made" in status.stdout
    table = machine.ok("nft list table arp pointsman")
    assert f"arp saddr ip {VIP} arp saddr ip set 0.0.0.0" in table  # eth0 had no address of its own then
    assert machine.ok("cat /proc/sys/net/ipv4/conf/all/arp_ignore").strip() == "0"


@pytest.mark.root
@pytest.mark.slow
def test_install_enables_and_uninstall_leaves_nothing(boot: Callable[[str], Machine]) -> None:
    machine = boot("")
    install = f"{PROJECT}/scripts/install --environment {ENVIRONMENT}"
    before = machine.ok("find /etc /usr/local /opt -xdev | sort")
    machine.ok(install)
    for unit in ("pointsman", "pointsman-realserver"):
        assert machine.ok(f"systemctl is-enabled {unit}").strip() == "enabled"
        machine.ok(f"systemctl start {unit}")
        assert machine.show(unit, "ActiveState") == "inactive", "no role on this host: skipped, not failed"
        assert machine.show(unit, "Result") == "exec-condition"
    machine.ok(f"{install} --uninstall")
    assert machine.ok("find /etc /usr/local /opt -xdev | sort") == before


DIRECTOR = (
    INTERFACES
    + f"""
mkdir -p /etc/keepalived
cat > /etc/keepalived/keepalived.conf <<'END'
global_defs {{
    router_id lb-01
}}
vrrp_instance VI_1 {{
    state MASTER
    interface ens224
    virtual_router_id 51
    priority 200
    advert_int 1
    virtual_ipaddress {{
        {VIP}/26 dev ens224
    }}
}}
virtual_server {VIP} 80 {{
    lb_algo rr
    lb_kind DR
    protocol TCP
    real_server 192.168.100.21 80 {{
        weight 1
    }}
}}
END
systemctl --root=/ enable networking.service pointsman.service
"""
)
UNIT = "pointsman.service"


@pytest.mark.root
@pytest.mark.slow
def test_a_killed_director_is_back_within_two_adverts_and_a_reload_keeps_it(
    boot: Callable[[str], Machine],
) -> None:
    machine = boot(DIRECTOR)
    machine.wait(lambda: machine.run(f"systemctl is-active {UNIT}").returncode == 0, "director at boot")
    machine.wait(lambda: VIP in machine.ok("ip -o address show dev ens224"), "VIP")
    first = machine.show(UNIT, "MainPID")

    assert machine.show(UNIT, "RestartUSec") == "200ms", "far less than two adverts of a second"
    machine.ok(f"systemctl kill --signal=KILL --kill-who=main {UNIT}")
    machine.wait(lambda: machine.show(UNIT, "NRestarts") == "1", "restart")
    machine.wait(lambda: machine.show(UNIT, "ActiveState") == "active", "director after its restart")
    died = int(machine.show(UNIT, "ExecMainExitTimestampMonotonic") or 0)
    back = int(machine.show(UNIT, "ActiveEnterTimestampMonotonic"))
    assert back > died
    assert VIP in machine.ok("ip -o address show dev ens224"), "a kill does not take the address away"
    assert machine.show(UNIT, "MainPID") != first

    attached = machine.ok("pointsman status --json")
    assert '"interface": "ens224"' in attached, "nor the program off the interface"
    machine.wait(lambda: "192.168.100.21:80" in machine.run("pointsman ipvsadm -Ln").stdout, "service table")

    second = machine.show(UNIT, "MainPID")
    machine.ok(f"systemctl reload {UNIT}")
    machine.ok(f"systemctl stop {UNIT}")
    assert machine.show(UNIT, "Result") == "success"
    assert machine.show(UNIT, "NRestarts") == "1", f"the reload was survived by {second}"
    assert VIP not in machine.ok("ip -o address show dev ens224")


@pytest.mark.root
@pytest.mark.slow
def test_a_hung_director_is_replaced_by_the_watchdog(boot: Callable[[str], Machine]) -> None:
    machine = boot(
        DIRECTOR
        + f"cd /etc/systemd/system && mkdir {UNIT}.d\n"
        + f"printf '[Service]\\nWatchdogSec=2\\nTimeoutAbortSec=1\\n' > {UNIT}.d/watchdog.conf\n"
    )
    machine.wait(lambda: machine.run(f"systemctl is-active {UNIT}").returncode == 0, "director at boot")
    machine.ok(f"systemctl kill --signal=STOP --kill-who=main {UNIT}")
    machine.wait(lambda: machine.show(UNIT, "NRestarts") == "1", "restart by the watchdog")
    machine.wait(lambda: machine.show(UNIT, "ActiveState") == "active", "director after its restart")


@pytest.mark.root
@pytest.mark.slow
def test_a_configuration_with_an_error_is_not_tried_again(boot: Callable[[str], Machine]) -> None:
    machine = boot(DIRECTOR + "echo 'vrrp_instnace X {' >> /etc/keepalived/keepalived.conf\n")
    machine.wait(lambda: machine.show(UNIT, "ActiveState") == "failed", "end of a director that cannot start")
    assert machine.show(UNIT, "NRestarts") == "0"
    assert machine.show(UNIT, "ExecMainStatus") == "2"
    assert "keepalived.conf:" in machine.ok(f"journalctl --no-pager -o cat -u {UNIT}")
