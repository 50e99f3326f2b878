# SPDX-License-Identifier: Apache-2.0
"""The meaning of configurations: each mistake that breaks a cluster is reported, correct ones are not."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Findings, Problem
from pointsman.conf.text.source import Source
from pointsman.model.location import Location

HYSTERESIS = "quorum 2\nhysteresis 1"
SOUND = """
vrrp_instance A {
    interface eth0
    virtual_router_id 1
    unicast_src_ip 10.0.0.2
    unicast_peer {
        10.0.0.3
    }
    virtual_ipaddress {
        10.0.0.1/24
    }
}
virtual_server 10.0.0.1 80 {
    protocol TCP
    lvs_method DR
    real_server 10.0.0.4 80 {
        TCP_CHECK {
        }
    }
}
"""
INSTANCE, SERVICE = 2, 13
"""Lines of the two blocks."""


def problems(text: str) -> tuple[Problem, ...]:
    """All problems of a configuration."""
    try:
        return load_text(text, "f").problems
    except ConfError as error:
        return error.problems


def second(block: str) -> str:
    """Text of the second instance or service, as a block of its own."""
    return SOUND[SOUND.index(block) :].partition("\n}\n")[0] + "\n}\n"


@pytest.mark.parametrize(
    ("old", "new", "where", "text"),
    [
        (
            "10.0.0.3",
            "10.0.0.2",
            7,
            "error: A lists 10.0.0.2, its own address, among its unicast peers",
        ),
        (
            "10.0.0.3",
            "10.0.0.1",
            7,
            "error: A lists 10.0.0.1, a virtual address, among its unicast peers",
        ),
        (
            "10.0.0.3",
            "fe80::1",
            7,
            "error: A: unicast peer fe80::1 and unicast_src_ip 10.0.0.2 are of diff",
        ),
        (
            "interface eth0",
            "interface eth0\nadvert_int 0.5",
            4,
            "error: A: advert_int 0.5: VRRP version 2",
        ),
        (
            "interface eth0",
            "interface eth0\nversion 3\nadvert_int 41",
            5,
            "error: A: advert_int 41: VRRP ver",
        ),
        (
            "interface eth0",
            "interface eth0\nversion 3\nadvert_int 0.125",
            5,
            "error: A: advert_int 0.125: VRRP version 3 allows steps of 1/100 s",
        ),
        (
            "10.0.0.1/24",
            "10.0.0.1/24\nfd00::1/64",
            11,
            "error: A: adverts carry addresses of one family, and the first is 10.0.0.1",
        ),
        ("10.0.0.1/24", "", INSTANCE, "warning: A has no virtual_ipaddress"),
        (
            "unicast_peer {\n        10.0.0.3\n    }",
            "",
            5,
            "warning: A has a unicast_src_ip but no unicast_p",
        ),
        ("10.0.0.1/24", "10.0.0.9/24", SERVICE, "warning: no vrrp_instance has 10.0.0.1"),
        (
            "real_server 10.0.0.4 80",
            "real_server 10.0.0.1 80",
            16,
            "error: the real server 10.0.0.1 is the virtual",
        ),
        (
            "real_server 10.0.0.4 80",
            "real_server fd00::4 80",
            16,
            "error: real server fd00::4 and virtual server",
        ),
        (
            "real_server 10.0.0.4 80",
            "real_server 224.0.0.4 80",
            16,
            "error: the real server 224.0.0.4 is not a unicas",
        ),
        (
            "protocol TCP",
            "protocol TCP\nsorry_server 10.0.0.4 80",
            15,
            "warning: 10.0.0.4:80 is both real server and sorry",
        ),
        (
            "TCP_CHECK {",
            "TCP_CHECK {\nconnect_timeout 9\ndelay_loop 3",
            18,
            "warning: connect_timeout 9 exceeds delay",
        ),
        (
            "unicast_src_ip 10.0.0.2",
            "unicast_src_ip 10.0.5.2",
            10,
            "warning: A: the virtual address 10.0.0.1 is in 10.0.0.0/24, but the director's own address",
        ),
        (
            "10.0.0.1/24",
            "10.0.0.1/30",
            16,
            "warning: 10.0.0.4 is not in the network of the virtual addresses, 10.0.0.0/30. Unless",
        ),
        (
            "real_server 10.0.0.4 80",
            "real_server 10.0.7.4 80",
            16,
            "warning: 10.0.7.4 is in none of the networks",
        ),
        (
            "real_server 10.0.0.4 80 {",
            f"{HYSTERESIS}\nreal_server 10.0.0.4 80 {{\nweight 2",
            17,
            "warning: quorum 2 + hysteresis 1 exceeds the weight of all real servers (2), so the quorum",
        ),
    ],
)
def test_mistake(old: str, new: str, where: int, text: str) -> None:
    found = problems(SOUND.replace(old, new))
    assert any(
        problem.location is not None
        and problem.location.line == where
        and f"{problem.severity.value}: {problem.text}".startswith(text)
        for problem in found
    ), found


def test_a_family_without_a_network_in_the_file_is_not_judged() -> None:
    text = SOUND.replace("10.0.0.1/24", "10.0.0.1/24\nfe80::9/64\nfd00::9")
    more = """
virtual_server fd00::9 80 {
lvs_method DR
protocol TCP
real_server fd00::12 80 {
}
}
"""
    assert not [each for each in problems(text + more) if "in none of the networks" in each.text]


def test_a_quorum_that_a_check_can_raise_the_weights_to_is_left_alone() -> None:
    text = SOUND.replace("real_server", f"{HYSTERESIS}\nreal_server").replace("80 {\nT", "80 {\nweight 2\nT")
    found = problems(text.replace("TCP_CHECK {", "MISC_CHECK {\nmisc_path /bin/true\nmisc_dynamic"))
    assert not [each for each in found if "exceeds the weight" in each.text]


def test_a_sound_configuration_is_left_alone() -> None:
    assert problems(SOUND) == ()


@pytest.mark.parametrize(
    ("name", "router", "interface", "text"),
    [
        ("A", 2, "eth0", "vrrp_instance A is repeated (line 2)"),
        ("a", 2, "eth0", "vrrp_instance a differs from A only in case"),
        ("B", 1, "eth0", "virtual_router_id 1 on eth0 is already used by A (line 2)"),
    ],
)
def test_instances_that_get_into_each_others_way(name: str, router: int, interface: str, text: str) -> None:
    other = second("vrrp_instance").replace(" A ", f" {name} ").replace("10.0.0.1/", "10.0.0.7/")
    other = other.replace("virtual_router_id 1", f"virtual_router_id {router}").replace("eth0", interface)
    (problem,) = problems(SOUND + other)
    assert problem.text.startswith(text)


def test_the_same_router_id_on_another_interface_is_fine() -> None:
    other = (
        second("vrrp_instance")
        .replace(" A ", " B ")
        .replace("10.0.0.1/", "10.0.0.7/")
        .replace("eth0", "eth1")
    )
    assert problems(SOUND + other) == ()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("virtual_router_id 1", "virtual_router_id 1\nstate MASTER\npriority 300", "priority 300"),
        ("protocol TCP", "protocol TPC", "protocol TPC"),
        ("lvs_method DR", "lvs_method DRR", "lvs_method DRR"),
        (
            "lvs_method DR",
            "lvs_method DR\npersistence_timeout x\npersistence_granularity 24",
            "persistence_timeout x",
        ),
    ],
)
def test_a_bad_value_is_one_error_and_not_a_missing_word_too(old: str, new: str, error: str) -> None:
    (problem,) = problems(SOUND.replace(old, new))
    assert problem.text.startswith(error)


@pytest.mark.parametrize(
    "text",
    [
        "global_defs {\nnotification_email {\na@b\nsmtp_server 10.0.0.5\n}\n" + SOUND,
        SOUND.replace("10.0.0.1/24\n    }", "10.0.0.1/24\n    }\n}"),
    ],
)
def test_a_brace_that_is_missing_or_too_many_is_all_that_is_said(text: str) -> None:
    for problem in problems(text):
        assert problem.location is not None
        assert any(word in problem.text for word in ("not closed", "closes no block", "is not allowed"))


def test_a_hint_never_leads_to_what_is_refused() -> None:
    for word in ("NATT", "NaT"):
        (problem,) = problems(SOUND.replace("lvs_method DR", f"lvs_method DR\nlb_kind {word}"))
        assert "NAT " not in f"{problem.text.removeprefix(f'lb_kind {word}')} {problem.remedy} "


def test_a_service_twice() -> None:
    (problem,) = problems(SOUND + second("virtual_server"))
    assert problem.text == "virtual server TCP 10.0.0.1:80 is repeated (line 13)"
    assert problems(SOUND + second("virtual_server").replace("TCP\n", "UDP\n")) == ()


def test_without_instances_and_prefixes_nothing_is_said_about_links() -> None:
    assert problems(second("virtual_server")) == ()
    assert problems(SOUND.replace("10.0.0.1/24", "10.0.0.1").replace("10.0.0.4", "10.9.9.9")) == ()


def test_the_way_out_holds_every_host_and_no_host_at_its_ends() -> None:
    text = SOUND.replace("10.0.0.1/24", "10.0.0.1/30").replace("10.0.0.4", "10.0.0.7")
    (problem,) = problems(text)
    assert "widen the prefix from /30 to /28 (10.0.0.0/28)" in problem.remedy


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("notification_email { a@b }", "notification_email without smtp_server: no mail is sent"),
        ("smtp_server 10.0.0.5", "smtp_server without notification_email: no mail is sent"),
    ],
)
def test_mail_settings_that_send_nothing(lines: str, text: str) -> None:
    (problem,) = problems(SOUND + f"global_defs {{\n{lines}\n}}\n")
    assert problem.text == text
    assert problem.location is not None
    assert (problem.location.line, problem.location.column) == (SOUND.count("\n") + 2, 1)


def test_an_instance_with_a_bad_number_is_looked_at_all_the_same() -> None:
    """Otherwise a second round of corrections shows what the first could have."""
    text = SOUND.replace("virtual_router_id 1", "virtual_router_id 300\nadvert_int 0.5")
    text += "vrrp_sync_group G {\ngroup {\nA\n}\n}\n" + second("vrrp_instance").replace("e A", "e B")
    assert [str(each).partition(";")[0] for each in problems(text)] == [
        "f:4:23: error: virtual_router_id 300: must be a whole number from 1 to 255",
        "f:5:1: error: A: advert_int 0.5: VRRP version 2 allows only whole seconds (RFC 3768)",
    ]


NAMES = """
vrrp_script check_web {
    script /bin/true
}
track_file load {
    file /run/load
}
bfd_instance neighbour {
    neighbor_ip 10.0.0.3
}
virtual_server_group frontends {
    10.0.0.1 80
}
"""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("unicast_src", "track_script {\nchek_web\n}\nunicast_src", "did you mean check_web?"),
        ("unicast_src", "track_file {\nlaod\n}\nunicast_src", "did you mean load?"),
        ("unicast_src", "track_bfd {\nneighbor\n}\nunicast_src", "did you mean neighbour?"),
        ("TCP_CHECK {", "BFD_CHECK {\nname neighbor", "did you mean neighbour?"),
        ("TCP_CHECK {", "FILE_CHECK {\ntrack_file lod", "did you mean load?"),
        ("10.0.0.1 80", "group frontend", "did you mean frontends?"),
        ("unicast_src", "track_script {\nother\n}\nunicast_src", "define it, or correct the name"),
    ],
)
def test_a_name_that_is_like_a_defined_one(old: str, new: str, text: str) -> None:
    missing = ("there is no", "does not exist")
    found = problems(NAMES + SOUND.replace(old, new))
    assert [each.remedy for each in found if any(each.text.count(text) for text in missing)] == [text]


@pytest.mark.parametrize(
    ("block", "words", "where"),
    [
        ("vrrp_instance A {\n x 1\n}\nx 2", ("x",), (2, 2, 1)),
        ("vrrp_instance A {\n y {\n }\n}\nx 2", ("x",), (1, 1, 13)),
        ("vrrp_instance A { # x\n y {\n 10.0.0.1/24\n }\n}", ("x",), (1, 1, 13)),
        ("vrrp_instance A { # x\n y {\n 10.0.0.1/24\n }\n}", ("10.0.0.1",), (3, 2, 11)),
        ("vrrp_instance A\n{\n z 1\n y {\n z\n }\n}", ("y", "z"), (5, 2, 1)),
        ("vrrp_instance A {\n y {\n }\n z\n}", ("y", "x"), (2, 2, 1)),
        ('vrrp_instance A { n "/bin/x a" }', ("/bin/x",), (1, 21, 10)),
    ],
)
def test_the_place_of_a_word_in_a_block(
    block: str, words: tuple[str, ...], where: tuple[int, int, int]
) -> None:
    place, width = Findings({"f": Source(block.encode())}).find_place(Location("f", 1, 1), *words)
    assert place is not None and (place.line, place.column, width) == where
