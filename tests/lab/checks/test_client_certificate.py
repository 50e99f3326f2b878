# SPDX-License-Identifier: Apache-2.0
"""SSL_GET with a certificate of its own, against an nginx that wants one (ssl_verify_client)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.lab.checker_process import QUICK, CheckerProcess, verdicts, virtual_server
from tests.lab.nginx import HOST, Nginx
from tests.support.namespaces import Namespace
from tests.support.project import POINTSMAN
from tests.support.until import DEADLINE, until

from pointsman.daemon.checker import privileges as checker
from pointsman.model.checks import ClientCertificate, HttpCheck, Url

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process of another user"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
PASSWORD = "open sesame"
BAD = "not a PEM file, or wrong password"


def openssl(directory: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a certificate of it whose key has a password, and one of nobody; for root alone."""
    made = tmp_path_factory.mktemp("certificates")
    made.chmod(0o700)
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    (made / "password").write_text(PASSWORD)
    openssl(made, f"req -x509 {key} -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    openssl(made, f"req -new {key} -passout file:password -subj /CN=director -keyout own.key -out own.csr")
    openssl(made, "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out own.pem")
    openssl(made, f"req -x509 {key} -nodes -days 2 -subj /CN=nobody -keyout other.pem -out other.crt")
    with (made / "other.pem").open("a") as file:
        file.write((made / "other.crt").read_text())
    for file_ in made.iterdir():
        file_.chmod(0o600)
    return made


@pytest.fixture(scope="module")
def nginx(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    wanted = f"ssl_verify_client on; ssl_client_certificate {directory}/ca.pem;"
    server = Nginx(tmp_path_factory.mktemp("nginx"), wanted)
    yield server
    server.stop()


def check(nginx: Nginx, shown: ClientCertificate | None, **changes: Any) -> HttpCheck:
    fields = {**QUICK, "retry": 0, "connect_timeout": 5.0, **changes}
    return HttpCheck(
        connect_address=ip_address(HOST),
        connect_port=nginx.tls,
        tls=True,
        urls=(Url(),),
        shown=shown,
        **fields,
    )


def own(directory: Path, password: str = PASSWORD) -> ClientCertificate:
    certificate, key = (str(directory / name) for name in ("own.pem", "own.key"))
    return ClientCertificate(certificate=certificate, key=key, password=password)


def test_the_server_lets_only_the_right_certificate_in(nginx: Nginx, directory: Path) -> None:
    """The checker is nobody; key and certificate are root's alone."""
    stranger = ClientCertificate(certificate=str(directory / "other.pem"))
    found = verdicts(check(nginx, own(directory)), check(nginx, None), check(nginx, stranger))
    assert [up for up, _ in found] == [True, False, False]
    assert all("status 400 instead of 200-299" in reason for _, reason in found[1:])


@pytest.mark.parametrize(
    ("password", "file", "why"),
    [
        ("wrong", "own.pem", BAD),
        ("", "own.pem", BAD),
        (PASSWORD, "none", "No such file or directory"),
    ],
    ids=["wrong password", "no password", "no file"],
)
def test_files_that_cannot_be_used_say_nothing_of_the_real_server(
    nginx: Nginx, directory: Path, password: str, file: str, why: str
) -> None:
    shown = ClientCertificate(
        certificate=str(directory / file), key=str(directory / "own.key"), password=password
    )
    services = [virtual_server(check(nginx, shown))]
    with CheckerProcess(services, nobody=True) as process:
        process.wait_for_log(f"certificate and key of {directory / file} and {directory / 'own.key'}", 30.0)
        process.wait_for_log(f"cannot be used: {why}", 30.0)
        process.wait_for_log(" and reload", 30.0)
        assert process.verdict_or_none(0.5) is None


def test_a_checker_has_to_start_anew_when_a_file_is_another_one(nginx: Nginx, directory: Path) -> None:
    services = [virtual_server(check(nginx, own(directory)))]
    before = checker.fixed(services)
    assert checker.fixed(services) == before
    plain = [virtual_server(check(nginx, None))]
    assert checker.fixed(plain) != before
    os.utime(directory / "own.pem", ns=(1, 1))
    assert checker.fixed(services) != before


CONFIGURATION = """
SSL {{
    certificate {directory}/shown.pem
    key {directory}/shown.key
    password "{password}"
}}
virtual_server 192.168.100.9 443 {{
    delay_loop 1
    protocol TCP
    lb_kind DR
    real_server 192.168.100.20 443 {{
        SSL_GET {{
            url {{
                path /
            }}
            connect_ip 127.0.0.1
            connect_port {port}
            connect_timeout 5
        }}
    }}
}}
"""


def test_a_reload_takes_files_that_have_changed(directory: Path, tmp_path: Path) -> None:
    """Reload with the same configuration; keys stay root's all the time."""
    log = tmp_path / "log"

    def show(certificate: str, key: str) -> None:
        for source, target in ((certificate, "shown.pem"), (key, "shown.key")):
            shutil.copy(directory / source, directory / target)
            (directory / target).chmod(0o600)

    def status() -> str:
        return host.call(*POINTSMAN, "status").stdout

    host = Namespace("tls")
    with host, contextlib.ExitStack() as stack:
        host.run("ip link add ens224 type veth peer name wire")
        host.run("ip link set ens224 up")
        with host.entered():
            nginx = Nginx(tmp_path, f"ssl_verify_client on; ssl_client_certificate {directory}/ca.pem;")
        stack.callback(nginx.stop)
        show("own.pem", "own.key")
        file = tmp_path / "pointsman.conf"
        file.write_text(CONFIGURATION.format(directory=directory, password=PASSWORD, port=nginx.tls))
        with log.open("wb") as out:
            words = host.command(*POINTSMAN, "run", "-f", str(file))
            director = subprocess.Popen(words, stdout=out, stderr=out)
        stack.callback(director.wait, DEADLINE)
        stack.callback(director.terminate)
        until("the check succeeds", lambda: "succeed on service" in log.read_text())
        show("other.pem", "other.pem")
        assert host.call(*POINTSMAN, "reload").returncode == 0
        until("the check fails", lambda: "status 400 instead of 200-299" in status())
        show("own.pem", "own.key")
        assert host.call(*POINTSMAN, "reload").returncode == 0
        until("the check succeeds again", lambda: log.read_text().count("succeed on service") == 2)
        assert "status 400" not in status()
        assert log.read_text().count("restarting checker: it needs other privileges or files") == 2
