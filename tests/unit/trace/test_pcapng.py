# SPDX-License-Identifier: Apache-2.0
"""The file of a trace: read back block by block, and by tcpdump."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.trace.connection import Place, Sighting
from pointsman.trace.frames import decode
from pointsman.trace.pcapng import encode
from pointsman.trace.verdict import analyse

VIP = "192.168.7.33"
SYN = bytes.fromhex(
    "deadbeef2446" "001a a0212165".replace(" ", "") + "0800"
    "4500003c1c4640004006" "0000" "c0a80702" "c0a80721"
    "c7931f40" "e0e97868" "00000000" "a002" "7210" "0000" "0000"
    "020405b40402080a0000000000000000" "01030307"
)  # fmt: skip
ON = SYN[:0] + bytes.fromhex("525400ba3db900163e5da6b3") + SYN[12:]
PLACES = [
    Place("client", "br_e", "client", True),
    Place("lvs", "eth7", "director", False),
    Place("lvs", "eth8", "director", True),
]


def sightings() -> list[Sighting]:
    data = [SYN, SYN, ON[:60]]
    return [
        Sighting(place, 1_700_000_000.25 + number, decode(frame), frame)
        for number, (place, frame) in enumerate(zip(PLACES, data, strict=True))
    ]


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, length - 4)[0] == length
        yield kind, data[8 : length - 4]
        data = data[length:]


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            assert data[4:] == b""
            break
        found[code] = data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]
    return found


def encoded() -> bytes:
    return encode(analyse(sightings(), VIP, 8000, {}), sightings())


def test_each_place_is_an_interface_and_each_frame_a_packet_with_its_comment() -> None:
    section, *rest = blocks(encoded())
    assert section[0] == 0x0A0D0D0A
    assert b"WRONG: lost after hop 3" in options(section[1][16:])[1]
    interfaces = [options(body[8:])[2] for kind, body in rest if kind == 1]
    assert interfaces == [b"client:br_e", b"lvs:eth7", b"lvs:eth8"]
    packets = [body for kind, body in rest if kind == 6]
    heads = [struct.unpack_from("<IIIII", body) for body in packets]
    assert [(head[0], head[3], head[4]) for head in heads] == [(0, 74, 74), (1, 74, 74), (2, 60, 74)]
    assert [((head[1] << 32) + head[2]) % 10**6 for head in heads] == [250_000] * 3
    told = [options(body[20 + (head[3] + 3) // 4 * 4 :]) for body, head in zip(packets, heads, strict=True)]
    assert [item[2][0] for item in told] == [2, 1, 2]
    assert told[0][1] == b"hop 1: client:br_e sends"
    assert told[2][1] == (
        b"hop 3: lvs:eth8 sends; changed: source MAC 00:1a:a0:21:21:65 -> 00:16:3e:5d:a6:b3, "
        b"destination MAC de:ad:be:ef:24:46 -> 52:54:00:ba:3d:b9"
    )


def test_tcpdump_reads_it(tmp_path: Path) -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not installed")
    file = tmp_path / "trace.pcapng"
    file.write_bytes(encoded())
    done = subprocess.run(
        ["tcpdump", "-enr", str(file)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert len(done.stdout.splitlines()) == 3
    assert "52:54:00:ba:3d:b9" in done.stdout.splitlines()[2]
