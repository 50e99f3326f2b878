# SPDX-License-Identifier: Apache-2.0
"""Entry point of `pointsman`: the list of verbs. The module of a verb is imported only when it is used."""

from __future__ import annotations

import importlib

import click

import pointsman

VERBS = {
    "run": ("pointsman.cli.run", "run", "Run the director: forward, fail over, check."),
    "reload": ("pointsman.cli.reload", "reload", "Apply the changed configuration file."),
    "rollback": ("pointsman.cli.reload", "rollback", "Go back to the configuration before."),
    "check": ("pointsman.cli.check", "check", "Show every mistake in a keepalived.conf."),
    "conf": ("pointsman.cli.conf", "conf", "Show the effective configuration; explain keywords."),
    "drain": ("pointsman.cli.override", "drain", "Send no new connections to a real server."),
    "weight": ("pointsman.cli.override", "weight", "Give a real server another weight."),
    "up": ("pointsman.cli.override", "up", "Put a real server in service, although checks fail."),
    "down": ("pointsman.cli.override", "down", "Take a real server out of service, although checks pass."),
    "release": ("pointsman.cli.override", "release", "Let configuration and checks decide again."),
    "genhash": ("pointsman.cli.genhash", "genhash", "Print the MD5 of a page, for HTTP_GET and SSL_GET."),
    "ipvsadm": (
        "pointsman.cli.ipvsadm",
        "ipvsadm",
        "Edit and list the service table with ipvsadm's commands.",
    ),
    "realserver": (
        "pointsman.cli.realserver.command",
        "realserver",
        "Make this host a real server: VIP and ARP rules.",
    ),
    "status": ("pointsman.cli.status", "status", "Show the director's state: VRRP, health, data plane."),
    "connections": (
        "pointsman.cli.connections",
        "connections",
        "List, export, import connections.",
    ),
    "detach": ("pointsman.cli.detach", "detach", "Remove what a dead or stopped director left."),
    "switchover": (
        "pointsman.cli.switchover",
        "switchover",
        "Make the other director master without losing a packet.",
    ),
    "doctor": ("pointsman.cli.doctor", "doctor", "Find what is wrong with direct routing on this host."),
    "trace": ("pointsman.cli.trace", "trace", "Follow one connection hop by hop."),
    "lab": ("pointsman.cli.lab", "lab", "Run test clusters on this machine, with real packets."),
}
"""Verb: module, attribute, one line of help."""


class Verbs(click.Group):
    """A group whose commands come from VERBS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, attribute, _ = VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, _, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pointsman.__version__, prog_name="pointsman")
def main() -> None:
    """Pointsman: an LVS direct-routing load balancer with its packet path in the kernel."""


if __name__ == "__main__":
    main()
