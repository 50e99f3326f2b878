# SPDX-License-Identifier: Apache-2.0
"""Another kernel on this machine: a QEMU guest that lives on the host's own files.

The guest mounts the host's root read-only (virtiofs), so the project, its Python environment and all of
Debian's tools are there at their usual places and there is no image to build. It can write to one folder, and
to memory. The processor is emulated: slow, but the same everywhere, inside other virtual machines too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PROJECT = Path(__file__).parents[2]
KERNELS = PROJECT / "build" / "guest"
"""The folder into which scripts/guest-kernels unpacks kernels."""
QEMU, FILES, BUSYBOX = "/usr/bin/qemu-system-x86_64", "/usr/lib/qemu/virtiofsd", "/bin/busybox"
BOOT_MODULES = ("virtio_pci", "virtiofs")

INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
for module in /modules/*; do [ ! -e $module ] || $b insmod $module; done
$b mount -t virtiofs host /host || $b poweroff -f
$b mount --bind /host{project} /project
$b mount --bind /host{folder} /folder
for place in host project; do $b mount -o remount,bind,ro /$place || $b poweroff -f; done
for place in tmp run var/tmp; do $b mount -t tmpfs tmpfs /host/$place; done
# The project may lie below one of those.
$b mkdir -p /host{project} && $b mount --bind /project /host{project}
$b mkdir -p /host{folder} && $b mount --bind /folder /host{folder}
$b umount /proc
exec $b switch_root /host /bin/sh {folder}/inside
"""

INSIDE = """
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf && mount -t cgroup2 cgroup2 /sys/fs/cgroup
printf '#!/bin/sh\\nexec /sbin/modprobe -d %s "$@"\\n' {kernel} > /run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export PYTHONPATH={project}/src PYTHONDONTWRITEBYTECODE=1
ip link set lo up
cd {project}
exec > {folder}/output 2>&1 < /dev/null
for module in {modules}; do /run/modprobe $module || echo "guest: no module $module"; done
{command}
echo $? > {folder}/code.new
mv {folder}/code.new {folder}/code
echo o > /proc/sysrq-trigger
sleep 60
"""


class GuestError(Exception):
    """The guest did not come as far as the end of its command: what its console said last."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def name(self) -> str:
        """The version as it is spoken of: 6.12."""
        return ".".join(self.release.split(".")[:2])

    def boot_modules(self) -> list[Path]:
        """Return the modules that must be loaded before the host's files can be mounted, in order."""
        command = ["modprobe", "-d", str(self.folder), "-S", self.release, "--show-depends"]
        found: dict[Path, None] = {}
        for module in BOOT_MODULES:
            listed = subprocess.run([*command, module], check=True, capture_output=True, text=True).stdout
            for line in listed.splitlines():
                word, path, *_ = line.split()
                if word == "insmod":
                    found[Path(path)] = None
        return list(found)


@dataclass(frozen=True)
class Outcome:
    """The result of a command in the guest."""

    code: int
    output: str
    """Standard output and error."""
    folder: Path
    """The folder with the files that the command has written."""


def kernels() -> list[Kernel]:
    """The kernels at hand, oldest first."""
    folders = KERNELS.glob("linux-image-*")
    found = [
        Kernel(release.name, folder)
        for folder in folders
        for release in (folder / "lib" / "modules").glob("*")
        if (folder / "boot" / f"vmlinuz-{release.name}").exists() and (release / "modules.dep").exists()
    ]
    return sorted(found, key=lambda kernel: [int(part) for part in kernel.name.split(".")])


def missing() -> str:
    """Return the reason why no guest can run here; empty: a guest can run."""
    if platform.machine() != "x86_64":
        return f"the guest's kernels are for x86-64, this is {platform.machine()}"
    if os.geteuid() != 0:
        return "needs root: the guest sees the host's files"
    for program in (QEMU, FILES, BUSYBOX):
        if not Path(program).exists():
            return f"{program} is not installed: run scripts/guest-kernels"
    return "" if kernels() else f"no kernel under {KERNELS}: run scripts/guest-kernels"


def run(
    kernel: Kernel,
    command: Sequence[str],
    folder: Path,
    seconds: float,
    modules: Sequence[str] = (),
    processors: int = 2,
    megabytes: int = 1536,
    counting: bool = False,
) -> Outcome:
    """Boot, run a command as root in the project's folder, bring back what it printed and wrote to `folder`.

    `modules` are loaded first, each with its parameters. With `counting` the guest's clocks count
    instructions, a nanosecond each, whatever the host does meanwhile; such a guest has one processor.
    Raises GuestError when the guest has not finished after `seconds`, or has died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("code", "output"):
        (folder / name).unlink(missing_ok=True)
    console = folder / "console.log"
    quoted = {"project": shlex.quote(str(PROJECT)), "folder": shlex.quote(str(folder.absolute()))}
    (folder / "inside").write_text(
        INSIDE.format(
            kernel=shlex.quote(str(kernel.folder)),
            modules=shlex.join(modules),
            command=shlex.join(command),
            **quoted,
        )
    )
    with tempfile.TemporaryDirectory(prefix="pmt-guest-") as temporary:
        initramfs = _initramfs(kernel, INIT.format(**quoted), Path(temporary))
        with console.open("wb") as log, _host_files(Path(temporary) / "files") as files:
            clock = _COUNTING if counting else ["-accel", "tcg,thread=multi", "-smp", str(processors)]
            late = _boot(kernel, initramfs, files, log, seconds, clock, megabytes)
    output = (folder / "output").read_text(errors="replace") if (folder / "output").exists() else ""
    if not (folder / "code").exists():
        reason = f"not finished after {seconds:.0f} s" if late else "died"
        tail = "\n".join(console.read_text(errors="replace").splitlines()[-30:])
        raise GuestError(f"the guest with Linux {kernel.release} has {reason}\n{output[-4000:]}\n{tail}")
    return Outcome(int((folder / "code").read_text()), output, folder)


def _initramfs(kernel: Kernel, init: str, temporary: Path) -> Path:
    """busybox, the modules that reach the host's files, and an init that hands over to them."""
    root = temporary / "initramfs"
    for name in ("bin", "host", "project", "folder", "modules", "dev", "proc"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    for number, module in enumerate(kernel.boot_modules()):
        shutil.copy(module, root / "modules" / f"{number:02d}-{module.name}")
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    archive = temporary / "initramfs.cpio"
    with archive.open("wb") as packed:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"],
            input=names.encode(),
            stdout=packed,
            cwd=root,
            check=True,
        )
    return archive


@contextlib.contextmanager
def _host_files(path: Path) -> Iterator[Path]:
    """The server of the host's files, listening at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        number = listener.fileno()
        options = ["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always", "-o", "log_level=err"]
        server = subprocess.Popen(
            [*_DIES_WITH_US, FILES, f"--fd={number}", *options],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield path
    finally:
        server.kill()
        server.wait()


_COUNTING = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]
# On a busy host the emulated timer may not tick while the kernel looks whether it does.
_KERNEL_LINE = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"
_QUICK = "init_on_alloc=0 audit=0 apparmor=0 cryptomgr.notests rcupdate.rcu_expedited=1"
"""Work that tests do not need and an emulated processor is slow at; benchmarks count it as ever."""
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def _boot(
    kernel: Kernel,
    initramfs: Path,
    files: Path,
    log: BinaryIO,
    seconds: float,
    clock: list[str],
    megabytes: int,
) -> bool:
    """True if the guest had to be killed."""
    arguments = ["-M", "q35", "-cpu", "max,la57=off", *clock]
    arguments += ["-m", str(megabytes), "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
    arguments += ["-object", f"memory-backend-memfd,id=memory,size={megabytes}M,share=on"]
    arguments += ["-numa", "node,memdev=memory", "-chardev", f"socket,id=files,path={files}"]
    arguments += ["-device", "vhost-user-fs-pci,chardev=files,tag=host", "-device", "virtio-rng-pci"]
    arguments += ["-kernel", str(kernel.image), "-initrd", str(initramfs)]
    arguments += ["-append", _KERNEL_LINE if clock is _COUNTING else f"{_KERNEL_LINE} {_QUICK}"]
    process = subprocess.Popen(
        [*_DIES_WITH_US, QEMU, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.wait()
    return False
