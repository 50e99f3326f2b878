# SPDX-License-Identifier: Apache-2.0
"""Numbers that keepalived takes are taken here, and no others: both ends of every range."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pointsman.conf.keywords.keyword import Keyword
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.keywords.values import BadValueError, Integer, Milliseconds, Seconds
from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError, Severity

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

Range = Integer | Seconds | Milliseconds

FRAME = """
<>
global_defs {
<global_defs>
}
garp_group {
interface eth0
<garp_group>
}
bfd_instance peer {
neighbor_ip 10.0.0.8
<bfd_instance>
}
vrrp_script alive {
script /bin/true
<vrrp_script>
}
track_file load {
file /etc/hostname
<track_file>
}
vrrp_track_process web {
process nginx
<vrrp_track_process>
}
vrrp_instance A {
interface eth0
virtual_router_id 5
unicast_src_ip 10.0.0.8
unicast_peer {
10.0.0.9
}
virtual_ipaddress {
10.0.0.251/24
}
<vrrp_instance>
}
virtual_server 10.0.0.251 80 {
lvs_method DR
lvs_sched rr
protocol TCP
<virtual_server>
real_server 10.0.0.252 80 {
<real_server>
TCP_CHECK {
<TCP_CHECK>
}
HTTP_GET {
<HTTP_GET>
url {
path /
<url>
}
}
SSL_GET {
<SSL_GET>
url {
path /
}
}
SMTP_CHECK {
<SMTP_CHECK>
host {
<host>
}
}
DNS_CHECK {
<DNS_CHECK>
}
UDP_CHECK {
<UDP_CHECK>
}
PING_CHECK {
<PING_CHECK>
}
MISC_CHECK {
misc_path /bin/true
<MISC_CHECK>
}
FILE_CHECK {
track_file load
<FILE_CHECK>
}
}
}
"""


def ranged() -> dict[str, tuple[Keyword, Range]]:
    """The words with a range that keepalived 2.2.7 knows."""
    return {
        f"{row.block}.{row.name}": (row, row.kind)
        for rows in TABLE.values()
        for row in rows.values()
        if isinstance(row.kind, Integer | Seconds | Milliseconds)
        and not row.known_to
        and row.block != "DR_CHECK"
    }


WORDS = ranged()


def values(kind: Range) -> dict[str, str]:
    """Values at the ends of a range, and the next ones outside."""
    step = 1 if isinstance(kind, Integer | Milliseconds) or kind.low == 0 else 0.000001
    numbers = {"below": kind.low - step, "lowest": kind.low, "highest": kind.high, "above": kind.high + 1}
    return {end: f"{number:.6f}".rstrip("0").rstrip(".") for end, number in numbers.items()}


def framed(statements: list[tuple[str, str]]) -> tuple[str, dict[int, str]]:
    """A configuration with statements in their blocks; line -> `block.word`."""
    text = FRAME
    for block in TABLE:
        lines = [f"{line}  # {block}.{line.split()[0]}" for place, line in statements if place == block]
        text = text.replace(f"<{block}>", "\n".join(lines))
    numbered = enumerate(text.splitlines(), 1)
    return text, {number: line.partition("# ")[2] for number, line in numbered if "# " in line}


def complaints(folder: Path, text: str) -> dict[int, str]:
    """Return the messages of `keepalived -t` about lines of a file, in a network namespace with eth0."""
    file = folder / "keepalived.conf"
    file.write_text(text)
    inside = f"ip link add eth0 type veth peer name eth1; exec keepalived -G -t -f {file}"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside], capture_output=True, text=True, timeout=60, check=False
    )
    said: dict[int, str] = {}
    for number, message in re.findall(r"Line (\d+)\) (.*)", done.stderr + done.stdout):
        said[int(number)] = said.get(int(number), "") + message + "\n"
    return said


def taken_here(kind: Range, value: str) -> bool:
    try:
        kind.read([value])
    except BadValueError:
        return False
    return True


REPEATING = (
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "MISC_CHECK",
)
BURSTS = ("garp_master_repeat", "garp_master_refresh_repeat", "garp_lower_prio_repeat")
BOTH = (("global_defs", "vrrp_"), ("vrrp_instance", ""))

TAKEN_HERE_ALONE: dict[str, dict[str, list[str]]] = {
    "lowest": {
        "0 is the default, written down": [
            *(
                "global_defs.vrrp_garp_interval",
                "global_defs.vrrp_gna_interval",
                "global_defs.vrrp_startup_delay",
            ),
            *(f"vrrp_track_process.{word}" for word in ("fork_delay", "terminate_delay", "delay")),
        ],
        "fractions of a second, as in keepalived 2.4": ["vrrp_script.interval", "vrrp_script.timeout"],
    },
    "highest": {
        "keepalived 2.2.7 counts microseconds in 32 bits": [
            *(
                "global_defs.vrrp_garp_interval",
                "global_defs.vrrp_gna_interval",
                "global_defs.vrrp_startup_delay",
            ),
            *("garp_group.garp_interval", "garp_group.gna_interval", "MISC_CHECK.misc_timeout"),
            *("vrrp_script.interval", "vrrp_script.timeout"),
        ],
    },
}
"""End of the range -> reason -> words."""

TAKEN_BY_KEEPALIVED_ALONE: dict[str, dict[str, list[str]]] = {
    "below": {
        "a packet with TTL 0 does not leave the host": ["vrrp_instance.unicast_ttl"],
        "keepalived does not look at the number": ["url.regex_min_offset", "url.regex_max_offset"],
    },
    "above": {
        "a burst is sent at once, so it has to end": [
            f"{block}.{prefix}{word}" for block, prefix in BOTH for word in BURSTS
        ],
        "136 years": [
            f"{block}.{word}"
            for block in ("virtual_server", "real_server", *REPEATING)
            for word in ("delay_loop", "delay_before_retry", "warmup")
        ],
        "the first MiB of an answer is searched": ["url.regex_min_offset", "url.regex_max_offset"],
    },
}
"""The same kind of differences, for the other end of the range."""


def flat(differences: dict[str, dict[str, list[str]]], end: str) -> set[str]:
    return {word for words in differences.get(end, {}).values() for word in words}


@pytest.mark.parametrize("end", ["below", "lowest", "highest", "above"])
def test_both_take_the_same_numbers_but_for_known_differences(tmp_path: Path, end: str) -> None:
    text, places = framed([(row.block, f"{row.name} {values(kind)[end]}") for row, kind in WORDS.values()])
    assert set(places.values()) == set(WORDS)
    said = complaints(tmp_path, text)
    here: set[str] = set()
    there: set[str] = set()
    for number, place in places.items():
        taken_there = not said.get(number, "").replace(DEPRECATED, "").strip()
        if taken_there is taken_here(WORDS[place][1], values(WORDS[place][1])[end]):
            continue
        (there if taken_there else here).add(place)
    assert here == flat(TAKEN_HERE_ALONE, end)
    assert there == flat(TAKEN_BY_KEEPALIVED_ALONE, end)


DEPRECATED = "nb_get_retry is deprecated - please use 'retry'"
"""A complaint about the word, not about its number."""

BY_THE_CODE_OF_A_BLOCK = [
    ("vrrp_script", "weight %d", -253, 253),
    ("track_file", "weight %d", -254, 254),
    ("vrrp_track_process", "weight %d", -254, 254),
    ("bfd_instance", "weight %d", -253, 253),
    ("FILE_CHECK", "weight %d", -(2**31) + 1, 2**31 - 1),
    ("track_file", "init_file %d", -254, 254),
    ("url", "status_code %d", 100, 599),
    ("global_defs", "lvs_timeouts tcp %d", 0, 31 * 86400),
    ("vrrp_instance", "garp_extra_if %d", 0, 86400),
]
"""Words whose number the code of their block reads."""


@pytest.mark.parametrize(("block", "line", "low", "high"), BY_THE_CODE_OF_A_BLOCK)
def test_numbers_among_other_words_have_the_same_range(
    tmp_path: Path, block: str, line: str, low: int, high: int
) -> None:
    for number, good in ((low - 1, False), (low, True), (high, True), (high + 1, False)):
        text, places = framed([(block, line % number)])
        text = re.sub(r"<\w*>\n", "\n", text)
        (place,) = places
        assert (place not in complaints(tmp_path, text)) is good, (number, "keepalived")
        try:
            problems = load_text(text).problems
        except ConfError as error:
            problems = error.problems
        found = [
            each
            for each in problems
            if each.location and each.location.line == place and each.severity is Severity.ERROR
        ]
        assert (not found) is good, (number, found)
