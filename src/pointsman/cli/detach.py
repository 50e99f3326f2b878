# SPDX-License-Identifier: Apache-2.0
"""`pointsman detach`: remove what a dead or stopped director left in the kernel."""

from __future__ import annotations

import click

from pointsman.cli.wording import fail, said
from pointsman.control.paths import pin_directory, run_directory
from pointsman.daemon.runtime.lock import AlreadyRunningError, acquire_lock, release_lock
from pointsman.daemon.runtime.status_file import STATUS_FILE
from pointsman.daemon.vrrp.vmac import clean_up
from pointsman.dataplane.xdp.plane import XdpDataPlane


@click.command()
def detach() -> None:
    """Remove what a dead or stopped director left in the kernel.

    Removed are the program, services and connections, and VRRP's virtual interfaces, addresses and sysctls.
    They are left by a kill and by a stop. A stop leaves connections, and services that were added by hand.

    Established connections to the VIP end. `pointsman run` would adopt everything instead.

    \b
    Exit codes:
      0  nothing is left
      1  a director runs here (stop it first), or removing failed
    """
    try:
        lock = acquire_lock(run_directory())
    except AlreadyRunningError as error:
        fail(f"a director runs here (pid {error}) and would lose its data plane; stop it first")
    except PermissionError as error:
        fail(f"{said(error)}; run it as root")
    except OSError as error:
        fail(said(error))
    try:
        pins = pin_directory()
        there = pins.is_dir()
        XdpDataPlane.remove(pins)
        clean_up(run_directory())
        for memory in (
            *run_directory().glob("*.state"),
            run_directory() / "control.sock",
            run_directory() / STATUS_FILE,
        ):
            memory.unlink(missing_ok=True)
    except OSError as error:
        fail(f"cannot remove what is in {pin_directory()}: {said(error)}")
    finally:
        release_lock(lock, run_directory())
    click.echo("removed; this host no longer forwards" if there else "there was nothing to remove")
