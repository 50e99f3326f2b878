# SPDX-License-Identifier: Apache-2.0
"""The administrator's word: put, added to, released, over."""

from __future__ import annotations

from ipaddress import ip_address

from pointsman.lvs.overrides import OverrideBook
from pointsman.model.override import Override
from pointsman.model.service import ServerKey, ServiceKey, Transport

SERVICE = ServiceKey.of(Transport.TCP, ip_address("192.0.2.9"), 80)
ONE, TWO = ((SERVICE, ServerKey(ip_address(f"192.0.2.{number}"), 80)) for number in (20, 21))


def test_words_about_one_server_add_up() -> None:
    book = OverrideBook()
    book.put(ONE, Override(up=True))
    book.put(ONE, Override(weight=0))
    book.put(TWO, Override(weight=3))
    assert book.active == {ONE: Override(up=True, weight=0), TWO: Override(weight=3)}
    book.put(ONE, Override(up=False))
    assert book.active[ONE] == Override(up=False, weight=0)


def test_release_ends_all_of_them() -> None:
    book = OverrideBook()
    book.put(ONE, Override(up=True), until=5.0)
    assert book.release(ONE)
    assert not book.release(ONE)
    assert book.active == {}
    assert book.expire(10.0) == []


def test_an_override_ends_in_time_and_the_last_word_about_time_counts() -> None:
    book = OverrideBook()
    book.put(ONE, Override(up=True), until=5.0)
    book.put(TWO, Override(up=True), until=5.0)
    book.put(TWO, Override(weight=2))
    assert (book.left(ONE, 2.0), book.left(TWO, 2.0)) == (3.0, None)
    assert book.expire(4.999) == []
    assert book.expire(5.0) == [ONE]
    assert book.active == {TWO: Override(up=True, weight=2)}


def test_servers_that_are_no_more_are_forgotten() -> None:
    book = OverrideBook()
    book.put(ONE, Override(up=True), until=5.0)
    book.put(TWO, Override(up=True))
    book.keep_only({TWO})
    assert list(book.active) == [TWO]
    assert book.expire(9.0) == []
