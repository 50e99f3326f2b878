# SPDX-License-Identifier: Apache-2.0
"""`pointsman realserver`: make this host a real server of direct routing, and undo it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from pointsman.cli.realserver.serve import Serving, serve_options, start_server
from pointsman.cli.wording import fail
from pointsman.control.paths import run_directory
from pointsman.model.address import Address
from pointsman.model.service import Forwarding
from pointsman.realserver import host, nft, persist, plan, setup, state, status, sysctl, unit
from pointsman.realserver import watch as watching
from pointsman.realserver.facts import SetupError, parse_vip
from pointsman.realserver.serve import Network
from pointsman.realserver.setup import Step


def vip(text: str) -> Address:
    """Parse a VIP on the command line."""
    try:
        return parse_vip(text)
    except SetupError as error:
        raise click.BadParameter(str(error)) from error


@contextmanager
def told() -> Iterator[None]:
    """Turn a SetupError into one line on stderr and exit code 1."""
    try:
        yield
    except SetupError as error:
        fail(str(error))


def interface_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--interface IF`, which may be repeated."""
    return click.option(
        "--interface",
        "interfaces",
        metavar="IF",
        multiple=True,
        help="Set the ARP rules on this interface. [default: those with a route to the VIP's network]",
    )(command)


def from_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--from FILE`."""
    return click.option(
        "--from",
        "configuration",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Take the VIPs from a keepalived.conf: those that have this host as a real server.",
    )(command)


_WITH_VIP = (Forwarding.ROUTE, Forwarding.TUNNEL)
"""Methods by which packets arrive at the real server with the VIP as destination."""


def vips_of(vips: tuple[Address, ...], configuration: Path | None) -> tuple[Address, ...]:
    """Return the named VIPs, and those of the file whose real servers include an address of this host.

    Raises SetupError if the file sends nothing here, UsageError if there is neither a VIP nor a file.
    """
    if configuration is None:
        if not vips:
            raise click.UsageError("name at least one VIP, or a keepalived.conf with --from")
        return vips
    from pointsman.cli.loading import load_or_exit

    own = {held.address for held in host.read_facts().addresses}
    found = [
        virtual.service.key.address
        for virtual in load_or_exit(configuration).virtual_servers
        if virtual.service.key.address is not None
        and any(
            member.server.key.address in own and member.server.forwarding in _WITH_VIP
            for member in virtual.members
        )
    ]
    if not found:
        raise SetupError(
            f"{configuration} sends nothing to an address of this host by direct routing or a tunnel; "
            f"its addresses: {', '.join(sorted(map(str, own)))}"
        )
    return tuple(dict.fromkeys([*vips, *found]))


def method_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--method`."""
    return click.option(
        "--method",
        type=click.Choice(setup.METHODS),
        help="How to keep the VIP silent in ARP. sysctl: kernel settings (default). nft: nftables rules. "
        "redirect: this host has no VIP, and nftables redirects its packets to the host's own address.",
    )(command)


def device_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--dev`."""
    return click.option(
        "--dev",
        "device",
        metavar="IF",
        default="",
        help="Interface that gets the VIPs. [default: lo] dummy... is created if it is missing. "
        "An interface with ARP needs --method nft.",
    )(command)


@click.group()
def realserver() -> None:
    """Make this host a real server: VIP on lo, silent in ARP.

    A real server accepts packets for the VIP. It must never answer ARP for the VIP, and must not use it as
    sender of its own ARP requests: arp_ignore 1, arp_announce 2. The command acts on its network namespace.

    \b
    Exit codes:
      0  all right
      1  refused, or something is not right
      2  wrong command line
    """


@realserver.command()
@click.argument("vips", metavar="[VIP...]", type=vip, nargs=-1)
@from_option
@method_option
@device_option
@interface_option
def up(
    vips: tuple[Address, ...],
    configuration: Path | None,
    method: str | None,
    device: str,
    interfaces: tuple[str, ...],
) -> None:
    """Set the ARP rules, then put the VIPs on lo. It can be repeated. `down` undoes it."""
    with told():
        vips = vips_of(vips, configuration)
        steps = setup.up(run_directory(), vips, interfaces or None, method or "", device)
        if method in (None, setup.SYSCTL):
            _say_choice(vips, interfaces)
        warnings = list(status.reverse_path(host.read_facts(), vips))
    _show(steps)
    for text in warnings:
        click.echo(f"warning: {text}")


def _say_choice(vips: Sequence[Address], interfaces: Sequence[str]) -> None:
    if interfaces or all(vip.version == 6 for vip in vips):
        return
    chosen = setup.choose_interfaces(host.read_facts(), vips)
    for name, why in chosen.items():
        click.echo(f"interface {name}: {why}")
    if not chosen:
        click.echo(
            "no interface has a route to the VIP's network. Only `all` and `lo` are set; `all` holds for each"
        )


@realserver.command(short_help="Do `up`, then correct what drifts.")
@click.argument("vips", metavar="[VIP...]", type=vip, nargs=-1)
@from_option
@method_option
@device_option
@interface_option
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=5,
    show_default=True,
    help="Seconds between two looks.",
)
@serve_options
def watch(
    vips: tuple[Address, ...],
    configuration: Path | None,
    method: str | None,
    device: str,
    interfaces: tuple[str, ...],
    every: float,
    serve: bool,
    key_file: Path | None,
    directors: tuple[Network, ...],
    port: int,
    everywhere: bool,
) -> None:
    """Do `up`, then look every few seconds. Report and correct what has drifted, until SIGTERM or Ctrl-C.

    With --serve a director that starts or takes over asks this host which connections to its services are
    open here, and goes on with them. It finds them in the kernel's socket tables.

    Everything stays set up at the end. `down` undoes it.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with told():
        start_server(Serving(serve, key_file, directors, port, everywhere), click.echo)
        watching.watch(
            run_directory(),
            vips_of(vips, configuration),
            interfaces or None,
            click.echo,
            lambda: not stop.wait(every),
            method or "",
            device,
        )


@realserver.command(short_help="Undo `up`: restore what was there before.")
@click.argument("vips", metavar="[VIP...]", type=vip, nargs=-1)
def down(vips: tuple[Address, ...]) -> None:
    """Undo `up` for the named VIPs, or for all. Restore what was there before; touch nothing else."""
    with told():
        steps = setup.down(run_directory(), vips)
    _show(steps)
    if not steps:
        click.echo("pointsman has set up nothing here")


@realserver.command(name="status", short_help="Show each setting: wanted, effective, set by whom.")
@click.argument("vips", metavar="[VIP...]", type=vip, nargs=-1)
@interface_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_status(vips: tuple[Address, ...], interfaces: tuple[str, ...], as_json: bool) -> None:
    """Show each setting: wanted, present, effective, who set it, right or drifted.

    \b
    Exit codes:
      0  all right
      1  something has drifted
    """
    with told():
        facts = host.read_facts()
        known = state.load(run_directory(), host.namespace_identity())
        asked = vips or tuple(parse_vip(text) for text in known.was_there)
        if not asked:
            raise SetupError("pointsman has set up no VIP here; name the VIP to look at")
        named = interfaces or tuple(known.interfaces) or tuple(setup.choose_interfaces(facts, asked))
        plan.require_interfaces(facts, interfaces)
        rules = nft.list_tables() if known.method in (setup.NFT, setup.REDIRECT) else ""
        found = status.build_report(facts, known, asked, named, sysctl.file_that_sets, rules)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _table(
            [("SETTING", "WANTED", "VALUE", "EFFECTIVE", "SET BY", "")]
            + [
                (row.setting, row.wanted, row.value, row.effective, row.set_by, "ok" if row.ok else "DRIFT")
                for row in found.settings
            ]
        )
        for text in found.warnings:
            click.echo(f"warning: {text}")
    sys.exit(0 if found.ok else 1)


def _show(steps: Sequence[Step]) -> None:
    _table([(step.setting, step.outcome.value, step.detail) for step in steps])


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@realserver.command(name="persist", short_help="Write the files that do `up` at boot.")
@click.argument("vips", metavar="[VIP...]", type=vip, nargs=-1)
@from_option
@method_option
@device_option
@interface_option
@click.option(
    "--backend",
    type=click.Choice([backend.value for backend in persist.Backend]),
    default="auto",
    help="What puts the VIP on lo at boot. auto: what this host uses. [default: auto]",
)
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False, exists=True), default="/", hidden=True
)
@click.option("--remove", is_flag=True, help="Remove the files, for the named VIPs or for all.")
@click.option("--dry-run", is_flag=True, help="Show the changes and write nothing.")
def persist_files(
    vips: tuple[Address, ...],
    configuration: Path | None,
    method: str | None,
    device: str,
    interfaces: tuple[str, ...],
    backend: str,
    root: Path,
    remove: bool,
    dry_run: bool,
) -> None:
    """Write the files that do `up` at boot, and show a diff.

    The files are in sysctl.d, and those of ifupdown, systemd-networkd, NetworkManager or netplan, which put
    the VIPs on lo. With --method nft, --method redirect or --dev, they are the settings of
    pointsman-realserver.service. The default method is that of `up`, if `up` was run here.
    """
    if not vips and not remove and configuration is None:
        raise click.UsageError("name at least one VIP, or a keepalived.conf with --from, or --remove")
    with told():
        if configuration is not None:
            vips = vips_of(vips, configuration)
        chosen = persist.Backend(backend)
        if not remove and root == Path("/"):
            method, device = _as_set_up(vips, method, device)
        by_unit = method in (setup.NFT, setup.REDIRECT) or device not in ("", "lo")
        if remove:
            changes = unit.remove(root, vips) + persist.remove(root, vips, chosen)
        elif by_unit:
            changes = unit.add(root, vips, method or "", device)
        else:
            if not interfaces and root == Path("/"):
                interfaces = tuple(setup.choose_interfaces(host.read_facts(), vips))
            unit.require_unused(root)
            changes = persist.add(root, vips, interfaces, chosen)
        for change in changes:
            click.echo(change.diff(), nl=False)
            if not dry_run:
                change.apply()
    if not any(change.diff() for change in changes):
        click.echo("nothing to change")
    elif dry_run:
        click.echo("dry run: nothing written")
    elif not remove:
        if by_unit and not unit.is_enabled(root):
            click.echo(f"{unit.UNIT} is not enabled: systemctl enable {unit.UNIT} (`make install` brings it)")
        words = " ".join([*map(str, vips), *(unit.method_options(method or "", device) if by_unit else ())])
        click.echo(f"in force from the next boot on; for now: pointsman realserver up {words}")


def _as_set_up(vips: Sequence[Address], method: str | None, device: str) -> tuple[str | None, str]:
    """Return the method and device of `up` here for these VIPs, unless they are named."""
    known = state.load(run_directory(), host.namespace_identity())
    places = {known.place(vip) for vip in vips if known.knows(vip)}
    return method or known.method or None, device or (places.pop() if len(places) == 1 else "")
