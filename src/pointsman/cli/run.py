# SPDX-License-Identifier: Apache-2.0
"""`pointsman run`: run the director."""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path

import click

from pointsman.model.tunables import TUNABLES, parse

DEFAULT_FILE = Path("/etc/keepalived/keepalived.conf")


@click.command()
@click.option(
    "-f",
    "--use-file",
    "file",
    type=click.Path(path_type=Path),
    help=f"keepalived.conf to run. [default: {DEFAULT_FILE}, unless --interface is given]",
)
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    help="Also take packets for services from this interface. May be repeated.",
)
@click.option(
    "--xdp-mode",
    type=click.Choice(["auto", "native", "generic", "tc"]),
    default="auto",
    show_default=True,
    help="How the program is attached. auto: the fastest mode that is safe on each interface.",
)
@click.option(
    "--connections",
    type=click.IntRange(1 << 10, 1 << 24),
    default=1 << 20,
    show_default=True,
    help="Size of a new connection table (32 bytes each, and 8 for persistence).",
)
@click.option(
    "--connections6",
    type=click.IntRange(1 << 10, 1 << 24),
    help="The same for IPv6 (64 bytes each). [default: a quarter of --connections]",
)
@click.option(
    "--keep-forwarding",
    is_flag=True,
    help="Leave services in force at a stop, also for new connections, without a bound.",
)
@click.option(
    "--sysctl",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"Set what IPVS has under net.ipv4.vs: {', '.join(TUNABLES)}. May be repeated.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=0.0,
    metavar="SECONDS",
    help="Wait this long for interfaces that are missing, as at boot. [default: 0]",
)
@click.option(
    "-i", "--config-id", help="Id that lines with @id are compared with. [default: the short host name]"
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Log more: every result of a check, change of the table, next hop and advert of a new sender.",
)
def run(
    file: Path | None,
    interfaces: tuple[str, ...],
    xdp_mode: str,
    connections: int,
    connections6: int | None,
    keep_forwarding: bool,
    settings: tuple[str, ...],
    wait: float,
    config_id: str | None,
    verbose: bool,
) -> None:
    """Run the director in the foreground until SIGTERM or Ctrl-C: forward, fail over, check.

    With --interface and without -f there is no VRRP and there are no checks. Fill the table with
    'pointsman ipvsadm'.

    After SIGKILL or a crash the kernel goes on forwarding. The next run adopts services, connections and
    addresses. After an orderly stop known connections are forwarded for up to 15 minutes, and none begins.
    SIGHUP does the same as 'pointsman reload'.
    SIGUSR1 and SIGUSR2 write the status into status.json in the run directory.

    \b
    Exit codes:
      0  stopped
      1  any other failure; a restart may help
      2  the configuration has errors
      3  this host cannot run it (interface, capability, BPF, other director)
    """
    from pointsman.cli.loading import load_or_exit
    from pointsman.cli.reload import reload_at_signal
    from pointsman.daemon.runtime.signals import survive_stray_signals
    from pointsman.daemon.start import Options, configure_logging, start
    from pointsman.model.config import Config

    survive_stray_signals()
    configure_logging(verbose)
    try:
        tunables = parse(settings)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--sysctl") from error
    by_hand = file is None and bool(interfaces)
    path = None if by_hand else (file or DEFAULT_FILE).absolute()
    config = (
        Config(router_id=socket.gethostname())
        if path is None
        else load_or_exit(path, config_id, tc=xdp_mode == "tc")
    )
    options = Options(
        interfaces=interfaces,
        xdp_mode=xdp_mode,
        connection_limit=connections,
        connection6_limit=connections6,
        keep_forwarding=keep_forwarding,
        file=str(path or ""),
        config_id=config_id,
        wait=wait,
        tunables=tunables,
    )
    sys.exit(start(config, options, partial(reload_at_signal, path, config_id) if path else None))
