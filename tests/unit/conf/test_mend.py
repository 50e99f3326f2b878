# SPDX-License-Identifier: Apache-2.0
"""Mended files: what is certain is corrected with a reason, the rest stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pointsman.conf.load import load
from pointsman.conf.mend import Mended, mend
from pointsman.conf.text.corrections import Edit
from pointsman.conf.text.problems import ConfError, Problem
from pointsman.conf.text.source import FileReader, TextReader

INSTANCE = """vrrp_instance A {
    interface eth0   # the link
    virtual_router_id 51
    @@
    virtual_ipaddress {
        192.0.2.10/24
    }
}
"""
SERVICE = """virtual_server 192.0.2.10 80 {
    lb_kind DR
    protocol TCP
    @@
    real_server 192.0.2.20 80 {
    }
}
"""


def check(reader: FileReader) -> Sequence[Problem]:
    try:
        return load(reader, "f").problems
    except ConfError as error:
        return error.problems


def mended(text: str, choice: int | None = None, **files: str) -> Mended:
    def decide(problem: Problem) -> tuple[Edit, ...]:
        return () if choice is None else problem.choices[choice].edits

    return mend(TextReader({"f": text, **files}), check, decide)


def result(text: str, choice: int | None = None) -> str:
    found = mended(text, choice)
    assert found.left == (), found.left
    return found.files.get("f", text)


@pytest.mark.parametrize(
    ("frame", "wrong", "right"),
    [
        (INSTANCE, "prioriti 90", "priority 90"),
        (INSTANCE, "priority 300  # high", "priority 100  # high"),
        (INSTANCE, "state SLAVE", "state BACKUP"),
        (INSTANCE, "advert_int 0", "advert_int 1"),
        (INSTANCE, "unicast_peer { 192.0.2.2/24 }", "unicast_peer { 192.0.2.2 }"),
        (INSTANCE, "unicast_src_ip 192.0.2.1", "mcast_src_ip 192.0.2.1"),
        (INSTANCE, "state MASTER", "state MASTER\n    priority 255"),
        (INSTANCE, "priority 90 yes", "priority 90"),
        (
            INSTANCE,
            "authentication { auth_type PASS\n        auth_pass secret-word\n    }",
            "authentication { auth_type PASS\n        auth_pass secret-w\n    }",
        ),
        (SERVICE, "quorum 0", "quorum 1"),
        (SERVICE, "quorum 9", "quorum 1"),
        (SERVICE, "lb_alg rr", "lb_algo rr"),
        (SERVICE, "lb_algo rrr", "lb_algo rr"),
    ],
)
def test_what_is_certain_is_corrected_in_its_place(frame: str, wrong: str, right: str) -> None:
    assert result(frame.replace("@@", wrong)) == frame.replace("@@", right)


@pytest.mark.parametrize(
    ("frame", "lines"),
    [
        (SERVICE, "persistence_timeout 0"),
        (SERVICE, "nat_mask 255.255.255.0"),
        (SERVICE, "lb_algo mh\n    sh-fallback"),
        (INSTANCE, "priority 90\n    nopreempt\n    preempt_delay 3"),
        (INSTANCE, 'notify_master "/bin/a"\n    notify_master "/bin/b"'),
        (INSTANCE, "track_interface {\n        eth1\n        eth1 weight 3\n    }"),
    ],
)
def test_what_has_no_effect_goes(frame: str, lines: str) -> None:
    text = frame.replace("@@", lines)
    made = result(text)
    removed = [line for line in text.splitlines() if line not in made.splitlines()]
    assert len(text.splitlines()) == len(made.splitlines()) + 1
    assert removed and removed[0].split()[0] in lines


def test_a_correction_can_uncover_another_mistake() -> None:
    text = INSTANCE.replace("@@", "stat MASTER\n    priority 90\n    nopreempt")
    assert result(text) == INSTANCE.replace("@@", "state MASTER\n    priority 90")


def test_a_missing_protocol_is_written() -> None:
    made = result(SERVICE.replace("    protocol TCP\n", "").replace("    @@\n", ""))
    assert made.splitlines()[:3] == ["virtual_server 192.0.2.10 80 {", "    protocol UDP", "    lb_kind DR"]


def test_a_blank_before_a_brace() -> None:
    text = INSTANCE.replace("A {", "A{").replace("@@", "priority 9")
    assert result(text) == INSTANCE.replace("@@", "priority 9")


def test_each_change_has_its_reason_in_the_diff() -> None:
    found = mended(INSTANCE.replace("@@", "prioriti 90\n    unicast_ttl 3\n    state SLAVE"))
    assert found.diff == (
        "--- f",
        "+++ f (mended)",
        "@@ -4,1 +4,1 @@ unknown keyword prioriti in vrrp_instance",
        "-    prioriti 90",
        "+    priority 90",
        "@@ -6,1 +6,1 @@ state SLAVE: must be MASTER or BACKUP",
        "-    state SLAVE",
        "+    state BACKUP",
    )


def test_a_decision_is_left_to_the_owner() -> None:
    text = SERVICE.replace("lb_kind DR", "lb_kind NAT").replace("    @@\n", "")
    assert mended(text).files == {} and len(mended(text).left) == 1
    assert "lb_kind DR" in result(text, 0)
    assert "lb_kind TUN" in result(text, 1)


def test_an_address_of_the_other_family_moves_if_the_owner_wants_it() -> None:
    text = INSTANCE.replace("    @@\n", "").replace("/24\n", "/24\n        2001:db8::10\n")
    assert "    virtual_ipaddress_excluded { 2001:db8::10 }\n    virtual_ipaddress {\n" in result(text, 0)
    assert "2001:db8::10" not in result(text, 1)


def test_included_files_are_mended_and_text_of_definitions_is_not() -> None:
    found = mended("include g\n", g=INSTANCE.replace("@@", "prioriti 9"))
    assert found.files == {"g": INSTANCE.replace("@@", "priority 9")}
    assert mended("$P=prioriti 9\n" + INSTANCE.replace("@@", "$P")).files == {}


def test_a_right_file_stays_as_it_is() -> None:
    assert mended(INSTANCE.replace("@@", "priority 9")) == Mended({}, (), ())
