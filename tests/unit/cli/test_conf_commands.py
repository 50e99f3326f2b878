# SPDX-License-Identifier: Apache-2.0
"""`pointsman check`, `pointsman conf show`, and how other verbs load a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pointsman.cli.check import check
from pointsman.cli.conf import conf
from pointsman.cli.loading import load_file, load_or_exit
from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError
from pointsman.daemon.runtime.read_file import DiskReader

EXAMPLES = Path(__file__).parents[3] / "examples"
DOCUMENT, LAB = EXAMPLES / "document" / "lb-01.conf", EXAMPLES / "lab" / "lb-01.conf"


@pytest.fixture
def mistaken(tmp_path: Path) -> Path:
    """Return a file with an error beside the warnings of the document's file."""
    file = tmp_path / "mistaken.conf"
    file.write_text(DOCUMENT.read_text().replace("192.168.100.20 80", "192.168.100.9 80"))
    return file


INSTANCE = """vrrp_instance A {
    interface eth0
    virtual_router_id 5
    priority 100
    virtual_ipaddress {
        10.0.0.1/24 dev eth0
    }
}
"""


@pytest.mark.parametrize("word", ["TCP_CHECK", "garp_master_delay", "snmp_vs_stats_update_interval"])
def test_the_help_of_a_word_fits_the_terminal(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = CliRunner().invoke(conf, ["help", word])
    lines = outcome.output.splitlines()
    assert outcome.exit_code == 0 and max(map(len, lines)) <= 80
    assert any(line.startswith("    value:     ") for line in lines)


def checked(*arguments: object) -> Result:
    return CliRunner().invoke(check, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("-f", DOCUMENT), 0), (("-f", LAB), 0), (("-f", LAB, "--strict"), 1), (("-f", "/nonexistent/x"), 2)],
)
def test_exit_codes(arguments: tuple[object, ...], code: int) -> None:
    assert checked(*arguments).exit_code == code
    assert checked(*arguments, "--json").exit_code == code


def test_the_file_may_be_named_without_f_but_not_twice() -> None:
    named, by_option = checked(LAB), checked("-f", LAB)
    assert (named.exit_code, named.output) == (0, by_option.output)
    twice = checked(LAB, "-f", DOCUMENT)
    assert (twice.exit_code, "one file at a time" in twice.stderr) == (2, True)


@pytest.mark.parametrize("words", [["-f", "-"], ["-"]])
def test_a_dash_is_standard_input(words: list[str]) -> None:
    result = CliRunner().invoke(check, words, input="frob\n")
    assert (result.exit_code, result.output.splitlines()[0]) == (2, "-:1:1: error:")
    shown = CliRunner().invoke(conf, ["show", "-f", "-"], input=LAB.read_text())
    assert (shown.exit_code, "192.168.100.9/26 dev ens224" in shown.stdout) == (0, True)


def test_strict_is_content_with_notes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("global_defs {\n    lvs_flush\n}\n" + INSTANCE)
    result = checked("-f", file, "--strict")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, f"{file}: 1 note")


def test_a_problem_shows_place_line_caret_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("vrrp_instance A {\n\tinterface eth0\n\tvirtual_router_id 1\n\tprioriti 3\n}\n")
    lines = checked("-f", file).output.splitlines()
    start = lines.index(f"{file}:4:2: error:")
    assert lines[start : start + 5] == [
        f"{file}:4:2: error:",
        "  unknown keyword prioriti in vrrp_instance",
        "  4 |  prioriti 3",
        "    |  ^^^^^^^^",
        "  -> did you mean priority?",
    ]
    assert lines[-1] == f"{file}: 1 error"


def test_equal_problems_are_shown_once_with_their_lines() -> None:
    output = checked("-f", LAB).output
    assert output.count("keepalived 2.x does not know nb_get_retry") == 1
    assert "also in lines 50, 66, 75" in output


def test_nothing_wrong_says_so(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(INSTANCE)
    result = checked("-f", file)
    assert (result.exit_code, result.output) == (0, f"{file}: no problem found\n")


def test_a_file_that_asks_for_nothing_is_no_mistake_but_strange(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("")
    result = checked("-f", file)
    assert result.exit_code == 0 and "no virtual_server and no vrrp_instance" in result.output
    assert checked("-f", file, "--strict").exit_code == 1


def test_text_of_the_file_cannot_play_tricks_on_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("\x1b[2Jfrob \x1b]0;x\x07\n" + "y" * 900 + "\n")
    output = checked("-f", file).output
    assert "\x1b" not in output
    assert "\x07" not in output
    assert max(map(len, output.splitlines())) < 200


def test_json_has_everything() -> None:
    document = json.loads(checked("-f", DOCUMENT, "--json").output)
    assert (document["errors"], document["warnings"], document["notes"]) == (0, 7, 0)
    error = next(each for each in document["problems"] if each["location"]["line"] == 36)
    assert error["location"] == {"file": str(DOCUMENT), "line": 36, "column": 5}
    assert (error["width"], error["excerpt"]) == (11, "    real_server 192.168.100.20 80 {")
    assert "/26" in error["remedy"]


def test_show_hides_passwords_unless_asked() -> None:
    shown = CliRunner().invoke(conf, ["show", "-f", str(LAB)]).stdout
    assert "auth_pass ********\n" in shown and "generate" not in shown
    as_json = CliRunner().invoke(conf, ["show", "-f", str(LAB), "--json"]).stdout
    assert json.loads(as_json)["instances"][0]["authentication"]["password"] == "********"
    for words in ([], ["--json"]):
        assert "generate" in CliRunner().invoke(conf, ["show", "-f", str(LAB), "--passwords", *words]).stdout


def test_show_for_keepalived_has_none_of_our_words() -> None:
    own = CliRunner().invoke(conf, ["show", "-f", str(LAB)]).stdout
    theirs = CliRunner().invoke(conf, ["show", "-f", str(LAB), "--as", "keepalived"]).stdout
    assert "smtp_tls none" in own and "smtp_tls" not in theirs


def test_mend_shows_a_diff_and_writes_only_if_asked(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(INSTANCE.replace("priority", "prioriti"))
    shown = CliRunner().invoke(conf, ["mend", str(file)])
    assert (shown.exit_code, "+    priority 100" in shown.stdout) == (0, True)
    assert "prioriti" in file.read_text()
    file.chmod(0o640)
    written = CliRunner().invoke(conf, ["mend", str(file), "--write"])
    assert (written.exit_code, file.read_text(), file.stat().st_mode & 0o777) == (0, INSTANCE, 0o640)
    assert "nothing to mend" in CliRunner().invoke(conf, ["mend", str(file)]).stderr


def test_mend_leaves_decisions_without_a_terminal(mistaken: Path) -> None:
    before = mistaken.read_text()
    result = CliRunner().invoke(conf, ["mend", str(mistaken)])
    assert result.exit_code == 2 and "is the virtual address itself" in result.stderr
    assert mistaken.read_text() == before


def test_programs_are_looked_up_in_path_and_shown_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe").write_text("#!/bin/sh\n")
    (tmp_path / "probe").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "f"
    file.write_text(
        f'vrrp_script s {{\nscript "probe -x"\n}}\nvrrp_script t {{\nscript absent\n}}\n{INSTANCE}'
    )
    shown = CliRunner().invoke(conf, ["show", "-f", str(file)]).stdout
    assert f'script "{tmp_path}/probe -x"' in shown
    assert f"there is no program absent in PATH here ({tmp_path})" in " ".join(checked(file).output.split())


def test_a_user_that_does_not_exist_is_told_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text(
        INSTANCE.replace("priority 100", "priority 100\n    notify_master /bin/true no-such-user")
    )
    output = " ".join(checked(file).output.split())
    assert "there is no user no-such-user here, so /bin/true cannot be run" in output
    assert 'write the command in quotes: "/bin/true no-such-user"' in output


def test_equal_problems_of_several_files_name_the_files(tmp_path: Path) -> None:
    for name in ("a.inc", "b.inc"):
        (tmp_path / name).write_text("frobnicate\n")
    (tmp_path / "f").write_text("include ?.inc\n")
    assert f"also in {tmp_path}/b.inc:1" in "".join(checked(tmp_path / "f").output.split("\n  "))


def test_show_prints_what_reads_as_the_same() -> None:
    result = CliRunner().invoke(conf, ["show", "-f", str(LAB), "--passwords"])
    assert result.exit_code == 0
    shown = CliRunner().invoke(conf, ["show", "-f", str(LAB), "--json"])
    assert json.loads(shown.stdout)["router_id"] == load_text(result.stdout).config.router_id == "lb-01"
    assert "192.168.100.9/26 dev ens224" in result.stdout


def test_show_refuses_what_has_errors(mistaken: Path) -> None:
    result = CliRunner().invoke(conf, ["show", "-f", str(mistaken)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "1 error" in result.stderr


def test_verbs_that_need_a_configuration_stop_at_errors(
    mistaken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        load_or_exit(mistaken)
    assert caught.value.code == 2
    assert "1 error, 7 warnings; nothing was changed" in capsys.readouterr().err
    assert load_or_exit(LAB).router_id == "lb-01"


def test_includes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number in (2, 1):
        (tmp_path / "d" / f"{number}.conf").write_text(
            f"virtual_server 10.0.0.{number} 80 {{\nlvs_method DR\nprotocol TCP\n}}\n"
        )
    (tmp_path / "d" / "3.txt").write_text("frob\n")
    main = tmp_path / "main.conf"
    for pattern in ("d/*.conf", "d/{1,2}.conf", "d/[12].conf"):
        main.write_text(f"include {pattern}\n")
        servers = load_file(main).config.virtual_servers
        assert [str(server.service.key) for server in servers] == ["TCP 10.0.0.1:80", "TCP 10.0.0.2:80"]
        first = servers[0].location
        assert first is not None
        assert first.file == str(tmp_path / "d" / "1.conf")


@pytest.mark.parametrize("make", ["directory", "fifo", "device", "gone"])
def test_what_is_no_file_is_an_error_and_never_blocks(tmp_path: Path, make: str) -> None:
    target = tmp_path / "x"
    if make == "directory":
        target.mkdir()
    elif make == "fifo":
        os.mkfifo(target)
    elif make == "device":
        target = Path("/dev/zero")
    main = tmp_path / "main.conf"
    main.write_text(f"includer {target}\n")
    with pytest.raises(ConfError, match=r"main\.conf:1:\d+: error"):
        load_file(main)


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(1 << 30)
    assert len(DiskReader().read(str(big), 100)) == 100
    with pytest.raises(ConfError, match="larger than 64 MiB"):
        load_file(big)


def test_errors_are_listed_where_warnings_could_hide_them(tmp_path: Path) -> None:
    file = tmp_path / "f.conf"
    file.write_text(
        "virtual_server 10.0.0.1 80 {\n lb_kind DR\n quorum 9\n retyr 2\n real_server 10.0.0.2 80 {\n"
        " weight 1\n weight 2\n weihgt 3\n}\n}\n"
    )
    last = checked(file).output.splitlines()[-1]
    assert last == f"{file}: 2 errors, 3 warnings; errors in lines 4, 8"
