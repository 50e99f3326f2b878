"""Entry point of `pointsman`: the list of verbs. A verb's module is imported only when it is used."""

from __future__ import annotations

import importlib

import click

import pointsman

VERBS = {
    "run": ("pointsman.cli.run", "run", "Run the director: forward, fail over, check."),
    "reload": ("pointsman.cli.reload", "reload", "Let the director take its changed configuration."),
    "rollback": ("pointsman.cli.reload", "rollback", "Let the director go back to the configuration before."),
    "check": ("pointsman.cli.check", "check", "Find every mistake in a keepalived.conf at once."),
    "conf": ("pointsman.cli.conf", "conf", "What is in force, and what a word of the file means."),
    "drain": ("pointsman.cli.override", "drain", "No new connections to a real server."),
    "weight": ("pointsman.cli.override", "weight", "Give a real server another weight."),
    "up": ("pointsman.cli.override", "up", "Let a real server serve, whatever its checks say."),
    "down": ("pointsman.cli.override", "down", "Take a real server out, whatever its checks say."),
    "release": ("pointsman.cli.override", "release", "Let configuration and checks decide again."),
    "genhash": ("pointsman.cli.genhash", "genhash", "MD5 of a page, for HTTP_GET and SSL_GET."),
    "ipvsadm": ("pointsman.cli.ipvsadm", "ipvsadm", "Work on the service table in ipvsadm's own language."),
    "realserver": ("pointsman.cli.realserver", "realserver", "Make this host a real server: VIP, ARP rules."),
    "status": ("pointsman.cli.status", "status", "What the director here does: VRRP, health, data plane."),
    "detach": ("pointsman.cli.detach", "detach", "Take out what a director that is gone left in the kernel."),
    "switchover": ("pointsman.cli.switchover", "switchover", "Hand mastership over without losing a packet."),
    "doctor": ("pointsman.cli.doctor", "doctor", "Is direct routing set up right, here? What to do if not."),
    "trace": ("pointsman.cli.trace", "trace", "Follow one connection hop by hop: which MAC changed where."),
    "lab": ("pointsman.cli.lab", "lab", "The documents' clusters on this one machine, with real packets."),
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
        """The list of verbs, without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, _, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pointsman.__version__, prog_name="pointsman")
def main() -> None:
    """Pointsman: LVS direct routing, whole, with the packet path in the kernel."""


if __name__ == "__main__":
    main()
