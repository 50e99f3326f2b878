# SPDX-License-Identifier: Apache-2.0
"""Requests and the probe, against hosts that are really reachable, gone, and back."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest
from tests.support.until import DEADLINE

from pointsman.lab import mailsink, services, waiting
from pointsman.lab.lab import Lab
from pointsman.lab.topologies import dual_homed
from pointsman.lab.traffic import Prober, fetch

pytestmark = pytest.mark.root

SERVER = "192.168.7.99"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("dual-homed", prefix=f"pmt-traffic-{os.getpid()}", directors=False) as made:
        yield made


def test_a_request_bears_the_source_asked_for(lab: Lab) -> None:
    client = lab.node("client")
    client.run(["ip", "address", "add", "192.168.7.3/24", "dev", "br_e"])
    assert fetch(client, SERVER, dual_homed.PORT, source="192.168.7.3") == "server"
    said = waiting.until(
        lambda: lab.node("server").log("http").read_text(), DEADLINE, "the request is logged"
    )
    assert re.search(r'^192\.168\.7\.3 .*"GET / HTTP/1.0" 200', said, re.MULTILINE)


def test_a_request_to_nobody_raises(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        fetch(lab.node("client"), SERVER, 81)


def test_the_probe_measures_how_long_a_host_was_silent(lab: Lab) -> None:
    server = lab.node("server")
    with Prober(lab.node("client"), SERVER, dual_homed.PORT) as prober:
        waiting.until(lambda: prober.answered_since(0), DEADLINE, "the first probe is answered")
        server.set_link("eth14", up=False)
        pulled = time.monotonic()
        assert not waiting_shows_answer(prober, pulled + 0.05, seconds=0.6)
        server.set_link("eth14", up=True)
        plugged = time.monotonic()
        waiting.until(lambda: prober.answered_since(plugged), DEADLINE, "the host answers again")
        back = time.monotonic()
    assert plugged - pulled - 0.05 <= prober.longest_silence() <= back - pulled + prober.longest_pause()


def waiting_shows_answer(prober: Prober, moment: float, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if prober.answered_since(moment):
            return True
        time.sleep(0.02)
    return False


def test_the_probe_of_a_steady_host_sees_no_silence_but_its_own(lab: Lab) -> None:
    """None is longer than what a busy machine has kept the probe itself from probing."""
    with Prober(lab.node("client"), SERVER, dual_homed.PORT, patience=DEADLINE) as prober:
        begun = time.monotonic()
        waiting.until(lambda: prober.answered_since(begun + 0.3), DEADLINE, "probes for 0.3 s are answered")
    assert 0.0 < prober.longest_silence() == prober.longest_pause()


def test_the_probe_without_any_answer_reports_endless_silence(lab: Lab) -> None:
    with Prober(lab.node("client"), SERVER, 81) as prober:
        assert not prober.answered_since(0)
    assert prober.longest_silence() == float("inf")


def test_the_mail_server_keeps_what_it_is_sent(lab: Lab) -> None:
    directory = lab.directory / "mails-of-the-test"
    services.start_mail(lab.node("server"), SERVER, directory)
    code = (
        "import smtplib; s = smtplib.SMTP('192.168.7.99'); "
        "s.sendmail('a@example.org', ['admin@mydomain.org'], 'Subject: [lb-01] down\\r\\n\\r\\nweb-02\\r\\n')"
    )
    lab.node("lvs").run(["python3", "-c", code])
    (mail,) = waiting.until(lambda: mailsink.mails(directory), DEADLINE, "the mail is stored")
    assert (mail["Subject"], mail.get_content().strip()) == ("[lb-01] down", "web-02")
