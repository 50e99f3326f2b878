# SPDX-License-Identifier: Apache-2.0
"""`pointsman connections` on real tables."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from tests.bpf.records.services import (
    FIN_WAIT,
    ONE,
    SERVERS4,
    empty,
    encoded,
    given,
    packed,
    set_up,
)
from tests.support.program_run import VIP, VIP6, Director

from pointsman.cli import connections as command
from pointsman.dataplane.interface import RecordExchange
from pointsman.packets.record import RECORD_SIZE, RecordFlag

pytestmark = pytest.mark.root

RS1, RS2 = SERVERS4
OF_PEER = msgspec.structs.replace(
    ONE,
    client=ipaddress.ip_address("10.1.0.2"),
    server=ipaddress.ip_address(RS2),
    flags=0,
    state=FIN_WAIT,
    seconds=61,
)
SIX = msgspec.structs.replace(
    ONE,
    client=ipaddress.ip_address("fd00::1"),
    virtual=ipaddress.ip_address(VIP6),
    server=ipaddress.ip_address("fd00:100::11"),
    flags=RecordFlag.CARRIED | RecordFlag.IPV6 | RecordFlag.SERVER6,
)
TEMPLATE = msgspec.structs.replace(
    ONE, client_port=0, virtual_port=443, server_port=443, flags=RecordFlag.TEMPLATE | RecordFlag.CARRIED,
    state=0, seconds=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Director]:
    with Director() as started:
        set_up(started)
        yield started


@pytest.fixture
def director(running: Director, monkeypatch: pytest.MonkeyPatch) -> Director:
    @contextlib.contextmanager
    def opened() -> Iterator[RecordExchange]:
        yield running.plane.exchange

    empty(running)
    monkeypatch.setattr(command, "open_exchange", opened)
    running.plane.exchange.take(encoded([TEMPLATE, ONE, OF_PEER, SIX]), ours=True)
    return running


def run(*words: str) -> Result:
    return CliRunner().invoke(command.connections, list(words))


def clients(*words: str) -> set[str]:
    return {json.loads(line)["client"] for line in run(*words, "--json").output.splitlines()}


@pytest.mark.usefixtures("director")
def test_the_list_has_a_line_for_each() -> None:
    lines = [line.split() for line in run().output.splitlines()]
    assert lines[0] == ["PRO", "EXPIRE", "STATE", "BY", "CLIENT", "SERVICE", "SERVER"]
    assert sorted(lines[1:]) == sorted(
        [
            ["TCP", "10:00", "ESTABLISHED", "here", "10.0.0.1:1000", f"{VIP}:80", f"{RS1}:80"],
            ["TCP", "01:01", "FIN_WAIT", "peer", "10.1.0.2:1000", f"{VIP}:80", f"{RS2}:80"],
            ["TCP", "10:00", "ESTABLISHED", "here", "[fd00::1]:1000", f"[{VIP6}]:80", "[fd00:100::11]:80"],
            ["TCP", "01:40", "NONE", "here", "10.0.0.1:0", f"{VIP}:443", f"{RS1}:443"],
        ]
    )


@pytest.mark.usefixtures("director")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--client", "10.0.0.0/16"], {"10.0.0.1"}),
        (["--client", "fd00::/64"], {"fd00::1"}),
        (["--server", RS2], {"10.1.0.2"}),
        (["--server", f"{RS2}:81"], set()),
        (["--service", f"[{VIP6}]:80"], {"fd00::1"}),
        (["--service", VIP6], {"fd00::1"}),
        (["--service", f"{VIP}:443"], {"10.0.0.1"}),
        (["--service", "7"], set()),
        (["--state", "fin_wait"], {"10.1.0.2"}),
        (["--state", "ESTABLISHED", "--service", VIP], {"10.0.0.1"}),
    ],
    ids=" ".join,
)
def test_filters(words: list[str], wanted: set[str]) -> None:
    assert clients(*words) == wanted


@pytest.mark.usefixtures("director")
def test_counts_by_server() -> None:
    lines = [line.split() for line in run("--count").output.splitlines()[1:]]
    assert lines == [
        [f"{RS1}:443", "0", "0", "1"],
        [f"{RS1}:80", "1", "0", "0"],
        [f"{RS2}:80", "0", "1", "0"],
        ["[fd00:100::11]:80", "1", "0", "0"],
    ]
    assert [json.loads(line)["peer"] for line in run("--count", "--json").output.splitlines()] == [0, 0, 1, 0]


def test_what_is_exported_can_be_imported(director: Director, tmp_path: Path) -> None:
    file, before = tmp_path / "saved", packed(given(director))
    assert run("export", str(file)).output == "4 records\n"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    empty(director)
    assert not given(director)
    done = run("import", str(file))
    assert done.exit_code == 0
    assert done.output.split() == ["4", "added"]
    assert packed(given(director)) == before


def test_a_file_that_is_cut_is_imported_up_to_there(director: Director, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    run("export", str(file))
    file.write_bytes(file.read_bytes()[: -RECORD_SIZE // 2])
    empty(director)
    done = run("import", str(file))
    assert done.exit_code == 1
    assert "ends within a record" in done.output
    assert len(given(director)) == 3


@pytest.mark.usefixtures("director")
@pytest.mark.parametrize(
    "content", [b"", b"pointsman connections 2\n", bytes(500)], ids=["empty", "later", "other"]
)
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_bytes(content)
    done = run("import", str(file))
    assert done.exit_code == 1
    assert "no file of connections" in done.output


@pytest.mark.parametrize("word", ["10.0.0.1:", "10.0.0:80", "10.0.0.1:65536", "name", ""])
def test_a_mistake_is_a_wrong_command_line(word: str) -> None:
    assert run("--server", word).exit_code == 2
