"""`pointsman detach`: the end of what a director has left in the kernel."""

from __future__ import annotations

import click

from pointsman.cli.wording import fail, said
from pointsman.control.paths import pin_directory, run_directory
from pointsman.daemon.supervisor import AlreadyRunningError, release_lock, take_lock
from pointsman.daemon.vrrp.vmac import remove_remains
from pointsman.dataplane.xdp.plane import XdpDataPlane


@click.command()
def detach() -> None:
    """Take out of the kernel what a director that is gone has left in force: program, services, connections;
    and VRRP's virtual interfaces, addresses and sysctls.

    That is what a kill leaves, a stop with --keep-forwarding, and services put in by hand. Established
    connections to the VIP end. `pointsman run` would adopt all of it instead.

    Exit codes: 0 nothing is left; 1 a director runs here (stop that), or it could not be taken out.
    """
    try:
        lock = take_lock(run_directory())
    except AlreadyRunningError as error:
        fail(f"a director runs here (pid {error}), and would lose its data plane; stop it first")
    except PermissionError as error:
        fail(f"{said(error)}; run it as root")
    except OSError as error:
        fail(said(error))
    try:
        pins = pin_directory()
        there = pins.is_dir()
        XdpDataPlane.remove(pins)
        remove_remains(run_directory())
        for memory in (*run_directory().glob("*.state"), run_directory() / "control.sock"):
            memory.unlink(missing_ok=True)
    except OSError as error:
        fail(f"cannot take out what is in {pin_directory()}: {said(error)}")
    finally:
        release_lock(lock, run_directory())
    click.echo("nothing is forwarded here any more" if there else "nothing was left in the kernel here")
