# SPDX-License-Identifier: Apache-2.0
"""Floods of adverts that are wrong: nothing changes, adverts are on time, the CPU time has a bound."""

from __future__ import annotations

import contextlib
import ipaddress
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.project import ROOT
from tests.support.until import until
from tests.support.vrrp.process import Ours, instance, master_and_backup
from tests.support.vrrp.switch import Host, Switch, switch

from pointsman.lab import namespace
from pointsman.model.address import Address
from pointsman.model.vrrp import AhAuthentication, HmacAuthentication, HmacKey, PassAuthentication
from pointsman.packets.checksum import internet_checksum
from pointsman.vrrp.admission import build_advert
from pointsman.vrrp.ah import AhCodec
from pointsman.vrrp.hmac_auth import Signer
from pointsman.vrrp.wire import GROUP, encode

pytestmark = pytest.mark.root

RATE, SECONDS = 50_000, 2.0
DEAREST = 200e-6
"""Seconds of CPU for one wrong advert on the busiest machine: no log line for each of them."""
FORGED_RATE, FOR_EVER = 25_000, 60.0
KEY = HmacAuthentication(keys=(HmacKey(1, bytes(range(32))),), active_key=1, window=300.0)
WRONG_KEY = HmacAuthentication(keys=(HmacKey(1, bytes(32)),), active_key=1, window=300.0)
NO_OPERATIONS = b"\1\1\1\1"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Switch, Host, Host, Host]]:
    with switch(tmp_path) as made:
        a, b, c = (made.host(name, f"10.9.0.{number}/24") for number, name in enumerate("abc", 1))
        yield made, a, b, c


def frame(host: Host, payload: bytes, ttl: int = 255, source: str = "", options: bytes = b"") -> bytes:
    """Return a frame with an advert. IP options keep it from being refused by its first bytes."""
    packed = ipaddress.ip_address(source).packed if source else host.address.packed
    first, length = 0x45 + len(options) // 4, 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", first, 0xC0, length, 0, 0, ttl, 112, 0)
    packet = head + packed + GROUP.packed + options
    packet = packet[:10] + struct.pack("!H", internet_checksum(packet)) + packet[12:] + payload
    return bytes.fromhex("01005e000012") + host.mac() + b"\x08\x00" + packet


def bad_frames(host: Host) -> dict[str, list[bytes]]:
    """Return bad frames by the counter that they increment; their priority 255 would end the master."""
    good = encode(build_advert(instance(), 255), host.address, GROUP)
    old = encode(build_advert(instance(version=2, advert_interval=1.0), 255), host.address, GROUP)
    spoofed = encode(build_advert(instance(), 255), ipaddress.ip_address("10.9.0.1"), GROUP)
    flipped = bytes([good[-1] ^ 1])
    return {
        "malformed": [
            frame(host, good[:-1] + flipped),
            frame(host, good[:11]),
            frame(host, b"\x32" + good[1:]),
            frame(host, good[:3] + b"\xff" + good[4:] + bytes(400)),
        ],
        "ttl": [frame(host, good, 254)],
        "version": [frame(host, old)],
        "own_packet": [frame(host, spoofed, source="10.9.0.1")],
        "unknown": [frame(host, good[:1] + b"\x63" + good[2:])],
    }


def cpu(process: Ours) -> float:
    """Seconds of CPU time so far."""
    return (
        sum(
            int(each.read_text().split()[0])
            for each in Path(f"/proc/{process.process.pid}/task").glob("*/schedstat")
        )
        / 1e9
    )


@contextlib.contextmanager
def flooding(host: Host, frames: list[bytes], rate: int) -> Iterator[None]:
    """Send these frames over and over, until the end of the block."""
    process = host.start(
        *(sys.executable, "-m", "tests.interop.flooder", str(FOR_EVER), str(rate)),
        stdin=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(frames))
    process.stdin.close()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def flood(host: Host, frames: list[bytes], seconds: float = SECONDS) -> int:
    """Number of packets that were sent."""
    with namespace.entered(host.namespace):
        done = subprocess.run(
            [sys.executable, "-m", "tests.interop.flooder", str(seconds), str(RATE)],
            input=pickle.dumps(frames),
            capture_output=True,
            check=True,
            cwd=ROOT,
        )
    return int(done.stdout)


def counted(process: Ours) -> dict[str, int]:
    """The counters that it logs at its end."""
    line = process.log.read_text().rpartition("adverts: ")[2].splitlines()[0]
    return {name: int(count) for name, count in (part.rsplit(" ", 1) for part in line.split(", "))}


def test_a_flood_of_bad_adverts_changes_nothing_and_costs_what_it_may(
    hosts: tuple[Switch, Host, Host, Host],
) -> None:
    made, a, b, c = hosts
    first, second = master_and_backup(
        made, a, b, down_timer_adverts=1
    )  # 160 ms without an advert are too long
    frames = bad_frames(c)
    before, began = {each: cpu(each) for each in (first, second)}, time.monotonic()
    sent = flood(c, [each for kind in frames.values() for each in kind])
    spent = {each: cpu(each) - before[each] for each in (first, second)}
    elapsed = time.monotonic() - began
    shares = [f"{each / elapsed:.0%}" for each in spent.values()]
    print(f"{sent / SECONDS:.0f} a second; CPU of a core: {shares}")
    assert (first.state(), second.state()) == ("MASTER", "BACKUP")
    assert [report.state for report in first.heard] == ["BACKUP", "MASTER"]
    assert [report.state for report in second.heard] == ["BACKUP"], "adverts are on time"
    assert sent > 10 * 1000
    for each in (first, second):
        assert spent[each] / sent < DEAREST
    assert second.stop() == 0
    counts = counted(second)
    text = second.log.read_text()
    print(f"{counts['received']} of {sent} counted: {counts}")
    for kind in ("malformed", "ttl", "version"):
        assert counts[kind] > 10, counts
    assert sum(line.count("(VI_1) from ") for line in text.splitlines()) <= 2 * len(frames), (
        "each kind is logged once"
    )


def test_a_flood_of_strangers_does_not_drown_the_master(hosts: tuple[Switch, Host, Host, Host]) -> None:
    """Packets that are right in all that can be seen at once, of ever other senders, for another version."""
    made, a, b, c = hosts
    first, second = master_and_backup(made, a, b)
    old = msgspec.structs.replace(instance(), version=2, advert_interval=1.0)
    payload = encode(build_advert(old, 255), c.address, GROUP)
    strangers = [f"10.9.{number}.77" for number in range(1, 200)]
    sent = flood(c, [frame(c, payload, source=each, options=NO_OPERATIONS) for each in strangers])
    until("it has been logged", lambda: "some are dropped unread" in second.log.read_text())
    assert (first.state(), second.state()) == ("MASTER", "BACKUP")
    assert [report.state for report in second.heard] == ["BACKUP"]
    assert second.stop() == 0
    counts = counted(second)
    assert counts["flood"] > counts["version"] > 100
    assert counts["received"] > sent / 3


@pytest.mark.parametrize("options", [b"", NO_OPERATIONS])
def test_a_flood_with_the_address_of_the_master_and_a_wrong_password_costs_what_it_may(
    hosts: tuple[Switch, Host, Host, Host], options: bytes
) -> None:
    made, a, b, c = hosts
    secret = PassAuthentication("secret")
    first, second = master_and_backup(made, a, b, version=2, advert_interval=1.0, authentication=secret)
    wrong = instance(version=2, advert_interval=1.0, authentication=PassAuthentication("guess"))
    payload = encode(build_advert(wrong, 255), a.address, GROUP)
    before, began = cpu(second), time.monotonic()
    sent = flood(c, [frame(c, payload, source=str(a.address), options=options)])
    spent, elapsed = cpu(second) - before, time.monotonic() - began
    print(f"{sent / SECONDS:.0f} a second; {spent / sent * 1e6:.1f} us each; {spent / elapsed:.0%} of a core")
    assert spent / sent < DEAREST
    assert (first.state(), second.state()) == ("MASTER", "BACKUP")
    assert [report.state for report in second.heard] == ["BACKUP"]
    assert second.stop() == 0
    counts = counted(second)
    assert counts["password"] + counts.get("flood", 0) > sent / 3
    assert ("flood" in counts) is bool(options)


def forged_hmac(host: Host, source: Address, options: bytes) -> bytes:
    """Return a frame whose trailer is right but for its HMAC, and newer than any other for a minute."""
    advert = encode(build_advert(instance(), 255), source, GROUP)
    payload = Signer(WRONG_KEY).sign(advert, source, GROUP, time.time() + 60)
    return frame(host, payload, source=str(source), options=options)


def forged_ah(host: Host, source: Address) -> bytes:
    """Return a frame whose authentication header has a wrong ICV and a sequence newer than any other."""
    old = instance(version=2, advert_interval=1.0, authentication=AhAuthentication("guess"))
    advert = encode(build_advert(old, 255), source, GROUP)
    packet = AhCodec(b"guess\0\0\0").wrap(advert, source, GROUP, 255, time.time() + 60)
    head = packet[:10] + b"\0\0" + packet[12:20]
    packet = head[:10] + struct.pack("!H", internet_checksum(head)) + packet[12:]
    return bytes.fromhex("01005e000012") + host.mac() + b"\x08\x00" + packet


@pytest.mark.parametrize("kind", ["hmac", "hmac, IP options", "ah", "pass, IP options"])
def test_the_true_adverts_of_a_peer_act_during_a_flood_of_forged_ones(
    hosts: tuple[Switch, Host, Host, Host], kind: str
) -> None:
    """The master's adverts keep the backup quiet, and its last one, of priority 0, is heard."""
    made, a, b, c = hosts
    options = NO_OPERATIONS if "options" in kind else b""
    settings: dict[str, object] = {"version": 2, "advert_interval": 1.0}
    if kind.startswith("hmac"):
        settings = {"hmac": KEY, "advert_interval": 1.0}
        bad = forged_hmac(c, a.address, options)
    elif kind == "ah":
        settings["authentication"] = AhAuthentication("secret")
        bad = forged_ah(c, a.address)
    else:
        settings["authentication"] = PassAuthentication("secret")
        wrong = instance(version=2, advert_interval=1.0, authentication=PassAuthentication("guess"))
        bad = frame(
            c,
            encode(build_advert(wrong, 255), a.address, GROUP),
            source=str(a.address),
            options=options,
        )
    first, second = master_and_backup(made, a, b, **settings)
    before, began = cpu(second), time.monotonic()
    with flooding(c, [bad], FORGED_RATE):
        until("more than a master-down interval is over", lambda: time.monotonic() - began > 5)
        assert second.state() == "BACKUP"
        print(f"{kind}: {(cpu(second) - before) / (time.monotonic() - began):.0%} of a core")
        assert first.stop() == 0
        until("the backup takes over", lambda: second.state() == "MASTER")
    assert [report.state for report in second.heard] == ["BACKUP", "MASTER"]
    assert "priority 0" in second.heard[-1].reason, second.heard[-1]
