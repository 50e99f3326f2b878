# SPDX-License-Identifier: Apache-2.0
"""The model of health checks: our own keywords, files, BFD sessions."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.checks import BfdCheck, DirectCheck, FileCheck, HttpCheck, TcpCheck
from pointsman.model.config import Config

SERVICE = """
track_file load {{
    file /run/load
    weight -2
}}
bfd_instance peer {{
    neighbor_ip 192.0.2.1
}}
virtual_server 192.0.2.9 80 {{
    protocol TCP
    lvs_method DR
    {service}
    real_server 192.0.2.20 80 {{
        {member}
    }}
}}
"""


def load(member: str, service: str = "") -> Config:
    loaded = load_text(SERVICE.format(member=member, service=service))
    assert not loaded.problems
    return loaded.config


def checks(member: str, service: str = "") -> tuple[object, ...]:
    return load(member, service).virtual_servers[0].members[0].checks


@pytest.mark.parametrize(
    ("service", "member", "own", "expected"),
    [
        ("", "", "fall 4", 3),
        ("fall 3", "", "", 2),
        ("fall 3", "retry 7", "", 7),
        ("retry 7", "fall 1", "", 0),
        ("fall 3", "", "retry 0", 0),
    ],
)
def test_fall_counts_the_first_attempt_and_the_innermost_block_decides(
    service: str, member: str, own: str, expected: int
) -> None:
    (check,) = checks(f"{member}\nTCP_CHECK {{\n{own}\n}}", service)
    assert isinstance(check, TcpCheck) and check.retry == expected


def test_file_checks_take_their_weight_from_the_file_unless_they_have_one() -> None:
    found = checks(
        "FILE_CHECK {\ntrack_file load\n}\nFILE_CHECK {\ntrack_file load\nweight 2147483647 reverse\n}"
    )
    assert [
        (check.file.path, check.weight, check.reverse) for check in found if isinstance(check, FileCheck)
    ] == [("/run/load", -2, False), ("/run/load", 2147483647, True)]


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("FILE_CHECK {\n}", "FILE_CHECK without track_file checks nothing"),
        ("FILE_CHECK {\ntrack_file other\n}", "there is no track_file other"),
        ("FILE_CHECK {\ntrack_file load\nweight 2147483648\n}", "weight must be a number from -2147483647"),
        ("FILE_CHECK {\ntrack_file load\nweight 1 backwards\n}", "weight must be a number from -2147483647"),
        ("BFD_CHECK {\n}", "BFD_CHECK without name checks nothing"),
        ("BFD_CHECK {\nname other\n}", "bfd_instance other does not exist"),
    ],
)
def test_mistakes(member: str, text: str) -> None:
    with pytest.raises(ConfError) as caught:
        load_text(SERVICE.format(member=member, service=""))
    assert text in str(caught.value)


def test_all_of_it_survives_being_written_and_read_again() -> None:
    config = load(
        "slow_start 30\nlog_all_failures\n"
        "FILE_CHECK {\ntrack_file load\nweight 3 reverse\n}\nBFD_CHECK {\nname peer\n}\nTCP_CHECK {\n}",
        "ha_suspend\nsorry_server_inhibit\nsorry_server 192.0.2.99",
    )
    again = load_text(show_config(config)).config
    assert show_config(again) == show_config(config)
    member = again.virtual_servers[0].members[0]
    assert {type(check) for check in member.checks} == {FileCheck, BfdCheck, TcpCheck}
    assert member.slow_start == 30.0
    assert again.virtual_servers[0].ha_suspend and again.virtual_servers[0].sorry_inhibit


def test_urls_of_a_direct_check_are_those_of_http_and_without_any_it_is_a_handshake() -> None:
    url = "url {\npath /health\nstatus_code 200 204\ndigest 0123456789abcdef0123456789abcdef\nregex ok\n}"
    (plain,) = checks("DR_CHECK {\n}")
    (direct,) = checks(f"DR_CHECK {{\nhttp_protocol 1.1\n{url}\n}}", "virtualhost www.example.org")
    (http,) = checks(f"HTTP_GET {{\nhttp_protocol 1.1\n{url}\n}}", "virtualhost www.example.org")
    assert isinstance(plain, DirectCheck) and isinstance(direct, DirectCheck) and isinstance(http, HttpCheck)
    assert plain.urls == ()
    assert (direct.urls, direct.version) == (http.urls, http.version)
    assert direct.urls[0].virtualhost == "www.example.org"
    shown = load_text(show_config(load(f"DR_CHECK {{\n{url}\nhttp_protocol 1.1\n}}"))).config
    assert msgspec.structs.replace(shown.virtual_servers[0].members[0].checks[0], location=None) == (
        msgspec.structs.replace(
            direct, location=None, urls=(msgspec.structs.replace(direct.urls[0], virtualhost=""),)
        )
    )


@pytest.mark.parametrize(
    ("service", "member", "expected"),
    [
        ("", "", (False, False)),
        ("passive_check\nreset_on_removal", "", (True, True)),
        ("reset_on_removal", "reset_on_removal no", (False, False)),
        ("", "reset_on_removal", (False, True)),
    ],
)
def test_what_the_packet_path_is_to_do_goes_with_the_real_server(
    service: str, member: str, expected: tuple[bool, bool]
) -> None:
    config = load(member, service)
    for each in (config, load_text(show_config(config)).config):
        (found,) = each.virtual_servers[0].members
        assert (found.server.is_watched, found.server.resets_clients) == expected
