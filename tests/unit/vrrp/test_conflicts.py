# SPDX-License-Identifier: Apache-2.0
"""Other hosts that answer for a virtual address, and the end of that."""

from __future__ import annotations

import ipaddress

from pointsman.vrrp.conflicts import Conflicts

ONE, TWO = ipaddress.ip_address("10.9.0.9"), ipaddress.ip_address("fd00::9")
MAC = bytes.fromhex("020000000009")


def test_a_conflict_lasts_until_the_other_host_is_silent() -> None:
    conflicts = Conflicts()
    assert (conflicts.text, conflicts.expire(0.0)) == ("", [])
    for second in (1.0, 11.0, 21.0):
        assert conflicts.on_answer(second, ONE, MAC)
        assert conflicts.expire(second + 9) == []
    assert conflicts.text == "another host (02:00:00:00:00:09) answers for 10.9.0.9"
    assert conflicts.expire(46.0) == [ONE]
    assert conflicts.text == ""


def test_many_answers_cause_one_reaction_a_second_but_all_are_remembered() -> None:
    conflicts = Conflicts()
    assert conflicts.on_answer(1.0, ONE, MAC)
    assert not conflicts.on_answer(1.0, TWO, MAC)
    assert not conflicts.on_answer(1.9, ONE, MAC)
    assert conflicts.on_answer(2.0, ONE, MAC)
    assert conflicts.expire(26.5) == [TWO]
    conflicts.clear()
    assert conflicts.text == ""


def test_the_answer_of_the_former_master_to_the_first_announcement_is_no_conflict() -> None:
    conflicts = Conflicts()
    conflicts.on_answer(1.0, TWO, MAC)
    conflicts.on_takeover(10.0)
    assert not conflicts.on_answer(10.01, ONE, MAC)
    assert conflicts.text == ""
    assert conflicts.on_answer(11.0, ONE, MAC)
    assert conflicts.text == "another host (02:00:00:00:00:09) answers for 10.9.0.9"
