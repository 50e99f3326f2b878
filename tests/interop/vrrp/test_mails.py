# SPDX-License-Identifier: Apache-2.0
"""Mails about instances and their sync group: the same story told to Debian's keepalived and to us."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.project import ROOT
from tests.support.until import DEADLINE, until
from tests.support.vrrp.keepalived import own_files
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import mailsink, namespace

pytestmark = pytest.mark.root

CONF = """
global_defs {
    router_id lb-01
    notification_email {
        admin@example.org
    }
    notification_email_from lb@example.org
    smtp_server 127.0.0.1
    vrrp_garp_master_delay 0
}
vrrp_sync_group VG_1 {
    group {
        VI_1
        VI_2
    }
    smtp_alert
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 1
    version 3
    advert_int 0.1
    smtp_alert
    virtual_ipaddress {
        10.9.0.100/24 dev eth0
    }
}
vrrp_instance VI_2 {
    interface eth0
    virtual_router_id 2
    version 3
    advert_int 0.1
    virtual_ipaddress {
        10.9.0.101/24 dev eth0
    }
}
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Switch]:
    with switch(tmp_path) as made:
        yield made


class Told:
    """A host alone with its daemon, and the mails that it sends."""

    def __init__(self, made: Switch, name: str, *command: str) -> None:
        self.host: Host = made.host(name, "10.9.0.1/24")
        self.host.isolate(True)
        self._mails = made.directory / f"mails-{name}"
        self._mails.mkdir()
        conf = made.directory / f"{name}.conf"
        conf.write_text(CONF)
        self.host.start(sys.executable, "-m", "pointsman.lab.mailsink", "127.0.0.1", "25", str(self._mails))
        until("mail is taken", self._takes_mail)
        self.daemon = self.host.start(*command, "-f", str(conf), log=made.directory / f"{name}.log", cwd=ROOT)

    def _takes_mail(self) -> bool:
        with namespace.entered(self.host.namespace):
            return "0100007F:0019 00000000:0000 0A" in Path("/proc/thread-self/net/tcp").read_text()

    def mails(self, about: str) -> list[tuple[str, str]]:
        """(what follows the name, the first line) of all mails about a group or an instance, in order."""
        found = []
        for mail in mailsink.mails(self._mails):
            router, _, event = mail["Subject"].partition(f" {about} - ")
            if event:
                assert router == "[lb-01] VRRP"
                found.append((event, mail.get_content().splitlines()[0]))
        return found

    def await_group(self, count: int) -> None:
        until(f"{count} mails about the group", lambda: len(self.mails("Group VG_1")) >= count)


def test_mails_about_a_group_and_its_instances_are_those_of_keepalived(made: Switch, tmp_path: Path) -> None:
    """Start, a pulled cable, its return, a stop; of the stop keepalived ends before it has told."""
    pointsman = (sys.executable, "-m", "pointsman.cli.main", "run")
    ours = Told(made, "ours", *pointsman)
    theirs = Told(made, "theirs", "keepalived", "-n", "-l", "-G", "-P", *own_files(tmp_path / "keepalived"))
    for told in (ours, theirs):
        told.await_group(2)
        told.host.plug(False)
        told.await_group(3)
        told.host.plug(True)
        told.await_group(5)
        told.daemon.terminate()
        assert told.daemon.wait(DEADLINE) == 0
    for about in ("Group VG_1", "Instance VI_1"):
        *before, last = ours.mails(about)
        assert before == theirs.mails(about)[:5]
        assert last[0] == "Stopping"
    assert [event for event, _ in ours.mails("Group VG_1")] == [
        *("Entering BACKUP state", "Entering MASTER state", "Entering FAULT state"),
        *("Entering BACKUP state", "Entering MASTER state", "Stopping"),
    ]
    assert ours.mails("Instance VI_2") == [], "it has no smtp_alert"
