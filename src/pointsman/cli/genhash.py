# SPDX-License-Identifier: Apache-2.0
"""`pointsman genhash`: print the MD5 for `digest` of HTTP_GET and SSL_GET; options of genhash(1)."""

from __future__ import annotations

import asyncio
import ipaddress

import click

from pointsman.cli.wording import fail
from pointsman.daemon.checker.probes import http
from pointsman.daemon.checker.probes.probe import ProbeFailedError, ProbeUnableError
from pointsman.model.checks import HttpCheck, HttpVersion, Url

VERSIONS = {"1.0": HttpVersion.V1_0, "1.0c": HttpVersion.V1_0C, "1.1": HttpVersion.V1_1}


@click.command()
@click.option("-S", "--use-ssl", is_flag=True, help="Use TLS, as SSL_GET does.")
@click.option("-s", "--server", required=True, metavar="IP", help="Address to connect to.")
@click.option("-p", "--port", required=True, type=click.IntRange(1, 65535), help="Port to connect to.")
@click.option("-u", "--url", required=True, metavar="PATH", help="Path to fetch.")
@click.option("-V", "--use-virtualhost", default="", metavar="HOST", help="Value of the Host header.")
@click.option(
    "-P",
    "--protocol",
    type=click.Choice(list(VERSIONS), case_sensitive=False),
    default="1.0",
    help="HTTP version.",
)
@click.option("-t", "--timeout", type=click.FloatRange(0.001, 3600), default=5.0, help="Seconds to wait.")
@click.option("-I", "--enable-sni", is_flag=True, help="Send the virtual host in the TLS handshake.")
@click.option("-v", "--verbose", is_flag=True, help="Also print the status.")
def genhash(
    use_ssl: bool,
    server: str,
    port: int,
    url: str,
    use_virtualhost: str,
    protocol: str,
    timeout: float,
    enable_sni: bool,
    verbose: bool,
) -> None:
    """Fetch a page as an HTTP check does, and print the MD5 of its body.

    \b
    Exit codes:
      0  printed
      1  the page cannot be fetched
    """
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        raise click.BadParameter(f"{server} is not an IP address", param_hint="--server") from None
    wanted = Url(path=url, virtualhost=use_virtualhost)
    check = HttpCheck(
        connect_address=address,
        connect_port=port,
        connect_timeout=timeout,
        urls=(wanted,),
        version=VERSIONS[protocol.lower()],
        tls=use_ssl,
        sni_from_host=enable_sni,
    )
    try:
        answer = asyncio.run(http.fetch(check, wanted))
    except (ProbeFailedError, ProbeUnableError) as error:
        fail(str(error))
    if verbose:
        click.echo(f"status {answer.status}", err=True)
    click.echo(answer.digest)
