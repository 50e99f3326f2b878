# SPDX-License-Identifier: Apache-2.0
"""Start the programs of nodes: web servers, mail, real-server set-up, directors."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pointsman.lab import waiting
from pointsman.lab.errors import LabError
from pointsman.lab.node import Node

_START_SECONDS = 60.0

_NGINX = """\
daemon off;
user root;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 80;
        listen 443 ssl;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        default_type text/plain;
        location / {{ return 200 "{name}\\n"; }}
    }}
}}
"""


def listens(node: Node, port: int, address: str = "127.0.0.1") -> bool:
    """True if a program in the node accepts TCP connections on this port."""
    with node.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0


def start_nginx(node: Node, directory: Path) -> None:
    """Start nginx on ports 80 and 443 (TLS, self-signed). Its page is the name of the node."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        raise LabError("nginx is not installed; install it: apt-get install nginx-light")
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "key.pem").exists():
        _make_certificate(node.name, directory)
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, name=node.name))
    child = node.popen([program, "-e", f"{directory}/error.log", "-c", str(configuration)], log="nginx")
    _wait_for_port(node, child, 80, "nginx")


def start_http_server(node: Node, port: int, directory: Path) -> None:
    """Start the second document's web service: Python's HTTP server, with a page that names the node."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "index.html").write_text(f"{node.name}\n")
    child = node.popen(["python3", "-m", "http.server", str(port)], log="http", directory=directory)
    _wait_for_port(node, child, port, "http")


def start_mail(node: Node, address: str, directory: Path) -> None:
    """Start an SMTP server on port 25 that stores mails in the folder (see mailsink.mails)."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pointsman.lab.mailsink", address, "25", str(directory)]
    child = node.popen(command, log="mail")
    _wait_for_port(node, child, 25, "mail", address)


def set_up_real_server(node: Node, vip: str, interfaces: Sequence[str]) -> None:
    """Run `pointsman realserver up`: the VIP on lo, and no ARP for it."""
    named = [word for interface in interfaces for word in ("--interface", interface)]
    node.run(["pointsman", "realserver", "up", vip, *named])


def start_director(node: Node, arguments: Sequence[str], xdp_mode: str) -> subprocess.Popen[bytes]:
    """Start `pointsman run` with these arguments. Return when it accepts commands."""
    child = node.popen(["pointsman", "run", *arguments, "--xdp-mode", xdp_mode], log="director")
    control = node.run_directory / "control.sock"

    def accepts_commands() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(control)) == 0

    _wait(node, child, "director", accepts_commands, "accepts commands")
    return child


def _make_certificate(name: str, directory: Path) -> None:
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem")]
    try:
        subprocess.run(
            [*words.split(), "-subj", f"/CN={name}", *files], check=True, capture_output=True, timeout=30
        )
    except FileNotFoundError as error:
        raise LabError("openssl is not installed; install it: apt-get install openssl") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"openssl fails: {error.stderr.decode(errors='replace')}") from error


def _wait_for_port(
    node: Node, child: subprocess.Popen[bytes], port: int, log: str, address: str = "127.0.0.1"
) -> None:
    _wait(node, child, log, lambda: listens(node, port, address), f"listens on port {port}")


def _wait(node: Node, child: subprocess.Popen[bytes], log: str, ready: Callable[[], bool], what: str) -> None:
    """Wait until the program is ready. Raises LabError with the end of its log if it ends or takes too
    long."""

    def ready_or_ended() -> bool:
        return child.poll() is not None or ready()

    try:
        waiting.until(ready_or_ended, _START_SECONDS, f"{log} on {node.name} {what}")
    except LabError as error:
        raise LabError(f"{error}; {log_tail(node, log)}") from error
    if child.poll() is not None:
        raise LabError(f"{log} on {node.name} ended with exit code {child.returncode}; {log_tail(node, log)}")


def log_tail(node: Node, log: str, lines: int = 12) -> str:
    """Return the end of a log, as part of an error message."""
    path = node.log(log)
    text = path.read_text(errors="replace") if path.exists() else ""
    return f"the end of its log:\n{chr(10).join(text.splitlines()[-lines:])}"
