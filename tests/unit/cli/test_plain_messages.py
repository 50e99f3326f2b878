# SPDX-License-Identifier: Apache-2.0
"""Wrong users, wrong hosts and odd input: one clear message, no traceback, no number of an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from pointsman.cli import doctor, lab_faults, override, reload, status, trace
from pointsman.cli.main import VERBS, main
from pointsman.cli.wording import said
from pointsman.control import paths
from pointsman.control.client_messages import (
    ErrorReply,
    OverrideReply,
    OverrideRequest,
    ReloadReply,
    ReloadRequest,
    Reply,
    StatusReply,
    StatusRequest,
)
from pointsman.control.status import (
    ConfigurationStatus,
    DataPlaneStatus,
    ServerStatus,
    ServiceStatus,
    Status,
)
from pointsman.doctor.rules.peer import PeerFacts
from pointsman.model.tunables import TUNABLES

STATE = Status(
    router_id="lb-01",
    uptime=1.0,
    data_plane=DataPlaneStatus(name="xdp"),
    configuration=ConfigurationStatus(file="", config_id=None, generation=1, seconds=1.0),
)
LAB = [
    ["lab", "up", "ha-pair"],
    ["lab", "status"],
    ["lab", "down"],
    ["lab", "mend"],
    ["lab", "break", "no-vip"],
    ["lab", "exec", "client", "true"],
    ["lab", "demo"],
    ["lab", "verdicts"],
    ["lab", "faults", "--run"],
    ["lab", "faults", "--healthy", "1"],
]


@pytest.mark.parametrize("words", LAB, ids=" ".join)
def test_the_lab_says_that_it_needs_root(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == lab_faults.FAILED
    assert outcome.output.startswith("pointsman lab: ") and "need root; run it with sudo" in outcome.output
    assert outcome.output.count("\n") == 1


def test_faults_are_listed_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    outcome = CliRunner().invoke(main, ["lab", "faults"])
    assert outcome.exit_code == 0 and "no-vip" in outcome.output


def test_a_trace_says_that_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_words: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(trace, "watch", refused)
    outcome = CliRunner().invoke(main, ["trace", "--here", "192.0.2.9:80"])
    assert outcome.exit_code == trace.FAILED
    assert outcome.output == ("pointsman trace: a trace captures packets. It needs root; run it with sudo\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["trace", "--merge", f"{tmp_path}/none", "192.0.2.9:80"])
    assert outcome.output == f"pointsman trace: {tmp_path}/none: No such file or directory\n"


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        ("/no/such/file", "--peer /no/such/file: neither a file nor a command on this host"),
        ("ssh 'lb-02", "--peer ssh 'lb-02: a quote is not closed"),
        (" ", "--peer: neither a file nor a command"),
        (sys.executable, f"--peer {sys.executable}: not what `pointsman doctor --facts` prints"),
    ],
)
def test_a_peer_that_is_none(peer: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def compared() -> PeerFacts:
        return doctor._peer_facts(peer)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "_examinations", lambda *_words: [compared])
    outcome = CliRunner().invoke(main, ["doctor"])
    assert outcome.exit_code == 2 and outcome.output.startswith(f"pointsman doctor: {why}"), outcome.output


def test_a_host_with_half_a_quote() -> None:
    outcome = CliRunner().invoke(main, ["trace", "--host", "web=ssh 'web", "192.0.2.9:80"])
    assert outcome.output == "pointsman trace: --host web=ssh 'web: a quote is not closed\n"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "its command ended too early, with exit code 1"),
        ("sh -c 'echo the host is closed >&2; exit 3'", "the host is closed"),
    ],
)
def test_a_host_whose_command_ends_at_once(command: str, why: str) -> None:
    outcome = CliRunner().invoke(main, ["trace", "--host", f"web={command}", "192.0.2.9:80"])
    assert (outcome.exit_code, outcome.output) == (trace.FAILED, f"pointsman trace: web: {why}\n")


@pytest.mark.parametrize("number", ["-1", "-2147483648", "2147483648"])
def test_a_weight_that_is_none_is_told_its_range(number: str) -> None:
    outcome = CliRunner().invoke(main, ["weight", "192.0.2.20", number])
    assert outcome.exit_code == 2
    assert f"{number} is not in the range 0<=x<=2147483647" in outcome.output
    assert CliRunner().invoke(main, ["weight", "--", "192.0.2.20", number]).output == outcome.output
    mistyped = CliRunner().invoke(main, ["weight", "192.0.2.20", "3", "--sevice", "192.0.2.9:80"])
    assert "Did you mean" in mistyped.output and "--service" in mistyped.output


@pytest.mark.parametrize(
    "words",
    [["reload"], ["rollback"], ["switchover"], ["status"], ["drain", "192.0.2.20"], ["ipvsadm", "-Ln"]],
)
def test_the_verb_itself_says_what_is_wrong(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(paths, "RUN_DIRECTORY", tmp_path)
    monkeypatch.setattr(paths, "PIN_DIRECTORY", tmp_path)
    outcome = CliRunner().invoke(main, words)
    assert outcome.output.startswith(f"pointsman {words[0]}: no director is running here"), outcome.output


def test_errors_are_told_without_numbers() -> None:
    assert said(PermissionError(13, "Permission denied", "/run/x")) == "/run/x: Permission denied"
    assert said(OSError(22, "Invalid argument")) == "Invalid argument"
    assert said(OSError("no number at all")) == "no number at all"


def test_status_is_silent_about_what_nobody_has_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(status, "control_socket", lambda: tmp_path / "control.sock")
    monkeypatch.setattr(status, "pin_directory", lambda: tmp_path / "pins")
    outcome = CliRunner().invoke(main, ["status"])
    assert outcome.exit_code == status.EXIT_NOT_RUNNING
    assert outcome.output.startswith("pointsman status: no director is running here")
    assert outcome.output.count("\n") == 1


@pytest.mark.parametrize("user", [0, 65534])
def test_status_says_when_it_cannot_know_what_is_left(
    user: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "abi-1").mkdir()

    def unreadable() -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(status, "control_socket", lambda: tmp_path / "control.sock")
    monkeypatch.setattr(status, "pin_directory", lambda: tmp_path)
    monkeypatch.setattr(status, "pinned_plane", unreadable)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    told = CliRunner().invoke(main, ["status"]).output.splitlines()[1]
    assert told.startswith("Cannot tell if a dead director left services in the kernel: Permission")
    assert ("run this as root" in told) is (user != 0)


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["drain", "192.0.2.20", "--for", "30m"], ": weight 0 for 30m"),
        (["weight", "192.0.2.20", "9", "--for", "90"], ": weight 9 for 90s"),
        (["weight", "192.0.2.20", "9", "--for", "24h"], ": weight 9 for 1d"),
        (["up", "192.0.2.20"], ": up"),
        (["down", "192.0.2.20", "--for", "2h"], ": down for 2h"),
        (["release", "192.0.2.20"], ": as configured and checked"),
    ],
)
def test_a_word_by_hand_is_told_with_its_end(
    words: list[str], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[OverrideRequest] = []

    def answer(message: OverrideRequest | StatusRequest, _socket: Path) -> OverrideReply | ErrorReply:
        if isinstance(message, StatusRequest):
            return ErrorReply("none today")
        asked.append(message)
        return OverrideReply(("[192.0.2.20]:tcp:80 of [192.0.2.9]:tcp:80",))

    monkeypatch.setattr(override, "request", answer)
    outcome = CliRunner().invoke(main, words)
    assert (outcome.exit_code, outcome.output) == (0, f"[192.0.2.20]:tcp:80 of [192.0.2.9]:tcp:80{end}\n")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "left", "warned"),
    [
        (["down", "192.0.2.20"], 0, True),
        (["drain", "192.0.2.20"], 0, True),
        (["weight", "192.0.2.20", "0"], 0, True),
        (["down", "192.0.2.20"], 1, False),
        (["weight", "192.0.2.20", "1"], 0, False),
        (["down", "192.0.2.2"], 0, False),
    ],
)
def test_taking_out_the_last_real_server_is_done_with_a_warning(
    words: list[str], left: int, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = (
        ServerStatus(server="192.0.2.20:80", weight=None, up=True, reason="", by_hand="down"),
        ServerStatus(server="192.0.2.21:80", weight=left, up=True, reason=""),
    )
    service = ServiceStatus(service="TCP 192.0.2.9:80", scheduler="rr", managed=True, servers=servers)
    state = msgspec.structs.replace(STATE, services=(service,))

    def answer(message: OverrideRequest | StatusRequest, _socket: Path) -> OverrideReply | StatusReply:
        if isinstance(message, StatusRequest):
            return StatusReply(state)
        return OverrideReply(("[192.0.2.20]:tcp:80 of [192.0.2.9]:tcp:80",))

    monkeypatch.setattr(override, "request", answer)
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 0
    told = f"pointsman {words[0]}: warning: no real server of TCP 192.0.2.9:80 can take a connection now"
    assert (told in outcome.output) is warned
    assert ("pointsman release 192.0.2.20" in outcome.output) is warned


@pytest.mark.parametrize(
    ("words", "weight", "scheduler", "flags", "persistence", "warned"),
    [
        (["drain", "192.0.2.20"], 0, "sh", (), None, ["uses sh"]),
        (["weight", "192.0.2.20", "0"], 0, "dh", ("sh-fallback",), None, ["uses dh"]),
        (["drain", "192.0.2.20"], 0, "mh", ("mh-port",), 300, ["uses mh", "is persistent"]),
        (["drain", "192.0.2.20"], 0, "mh", ("mh-fallback",), None, []),
        (["drain", "192.0.2.20"], 0, "wlc", (), 300, ["is persistent"]),
        (["drain", "192.0.2.20"], 0, "wlc", (), None, []),
        (["down", "192.0.2.20"], None, "sh", (), 300, []),
        (["drain", "192.0.2.2"], 0, "sh", (), 300, []),
    ],
)
def test_a_drain_tells_whom_it_refuses_and_who_stays(
    words: list[str],
    weight: int | None,
    scheduler: str,
    flags: tuple[str, ...],
    persistence: int | None,
    warned: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = ServiceStatus(
        service="TCP 192.0.2.9:80",
        scheduler=scheduler,
        flags=flags,
        persistence=persistence,
        managed=True,
        servers=(
            ServerStatus(server="192.0.2.20:80", weight=weight, up=True, reason="", by_hand="by hand"),
            ServerStatus(server="192.0.2.21:80", weight=1, up=True, reason=""),
        ),
    )

    def answer(message: OverrideRequest | StatusRequest, _socket: Path) -> OverrideReply | StatusReply:
        if isinstance(message, StatusRequest):
            return StatusReply(msgspec.structs.replace(STATE, services=(service,)))
        return OverrideReply(("192.0.2.20:80 of TCP 192.0.2.9:80",))

    monkeypatch.setattr(override, "request", answer)
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 0
    _done, *told = outcome.output.splitlines()
    heads = [f"pointsman {words[0]}: warning: TCP 192.0.2.9:80 {text}: " for text in warned]
    assert len(told) == len(heads)
    assert all(line.startswith(head) for line, head in zip(told, heads, strict=True))
    assert all(line.endswith("to move them: pointsman down 192.0.2.20") for line in told)


def test_a_reload_shows_a_warning_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(
        "vrrp_instance a {\ninterface lo\nvirtual_router_id 1\nauthentication {\nauth_type PASS\n"
        "auth_pass longer-than-8\n}\nvirtual_ipaddress {\n192.0.2.9\n}\n}\n"
    )
    known: tuple[str, ...] = ()

    def answer(message: ReloadRequest | StatusRequest, *_more: object, **_named: object) -> Reply:
        nonlocal known
        if isinstance(message, StatusRequest):
            configuration = ConfigurationStatus(str(file), None, 1, 1.0, warnings=known)
            return StatusReply(msgspec.structs.replace(STATE, configuration=configuration))
        known = message.warnings
        return ReloadReply((), 2)

    monkeypatch.setattr(reload, "request", answer)
    first, second = (CliRunner().invoke(main, ["reload"]).output for _ in range(2))
    assert "the password has 13 bytes" in first and "as at the last reload" not in first
    assert "bytes" not in second
    assert f"as at the last reload; all of them: pointsman check -f {file}\n" in second
    file.write_text("\n" + file.read_text())
    third = CliRunner().invoke(main, ["reload"]).output
    assert "bytes" not in third and "as at the last reload" in third, "the line has only moved"


def test_problems_are_folded_to_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "keepalived.conf"
    file.write_text("vrrp_instance a {\ninterface lo\nvirtual_router_id 1\n" + "x" * 300 + " 1\n}\n")
    lines = CliRunner().invoke(main, ["check", str(file)]).output.splitlines()
    assert any(line.endswith("^" * 40) for line in lines)
    assert max(len(line) for line in lines if str(file) not in line and "x" * 100 not in line) <= 80


def test_the_help_of_run_has_every_setting() -> None:
    told = CliRunner().invoke(main, ["run", "--help"]).output
    assert {name for name in TUNABLES if name not in told} == set()


def test_every_list_of_commands_is_whole() -> None:
    """click cuts what is too long for a line."""
    for verb in VERBS:
        command = main.get_command(click.Context(main), verb)
        if isinstance(command, click.Group):
            cut = [
                name
                for name, inner in command.commands.items()
                if inner.get_short_help_str(60).endswith("...")
            ]
            assert cut == [], verb


@pytest.mark.root
@pytest.mark.parametrize(
    "words",
    [
        ["lab", "status"],
        ["detach"],
        ["trace", "--here", "192.0.2.9:80"],
        ["doctor"],
        ["realserver", "up", "192.0.2.9"],
    ],
)
def test_somebody_else_than_root_gets_one_message(words: list[str], tmp_path: Path) -> None:
    """Root's folder is a run directory in which nobody else may write, whatever this machine's is."""
    module = VERBS[words[0]][0]
    program = (
        f"import os, pathlib, {module}; from pointsman.cli.main import main\n"
        f"from pointsman.control import paths; paths.RUN_DIRECTORY = pathlib.Path({str(tmp_path)!r})\n"
        f"os.setgroups([]); os.setgid(65534); os.setuid(65534); main({words})"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode in (1, 2) and ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith(f"pointsman {words[0]}: ")
    assert "root" in ended.stderr and "Errno" not in ended.stderr


def test_an_address_is_never_shown_as_a_picture() -> None:
    """rich would make one of the `:100:` in fd00:100::9."""
    sources = Path(doctor.__file__).parents[1].rglob("*.py")
    made = [call for source in sources for call in re.findall(r"\bConsole\(.*\)", source.read_text())]
    assert len(made) >= 5
    assert [call for call in made if "emoji=False" not in call] == []
