# SPDX-License-Identifier: Apache-2.0
"""Random configurations from the keyword table: what people may write, repeated and odd values included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from pointsman.conf.keywords.keyword import Keyword, Status
from pointsman.conf.keywords.table import TABLE
from pointsman.conf.keywords.values import Boolean, Choice, Flag, Integer, Seconds

Rng = random.Random

_SKIPPED = {
    *("strict_mode", "vrrp_strict", "smtp_alert_checker", "mcast_dst_ip"),
    *("vrf", "vmac_xmit_base", "use_vmac_addr", "old_unicast_checksum", "virtual_router_id"),
    *("interface", "protocol", "ops", "ip_family", "inhibit_on_failure"),
    *("enable_script_security", "vrrp_startup_delay"),
}
"""Words that need more than a value, or interfaces; those with tests of their own."""
_ONE_OF = ({"accept", "no_accept"}, {"preempt", "nopreempt"}, {"lvs_sched", "lb_algo"})
_LARGEST = 5000
"""Largest random number, so that sums and products are readable."""


GROUPED = {"script": ["s3"], "file": ["f3"], "process": ["p3"]}
"""Trackers of the sync group, by kind. They are others than those of its members."""


def simple_words(block: str) -> list[Keyword]:
    """Return the honoured words of a block whose values are numbers, switches and choices."""
    kinds = (Integer, Seconds, Boolean, Flag, Choice)
    return [
        row
        for row in TABLE[block].values()
        if row.status is Status.HONOURED
        and not row.known_to
        and not row.opens
        and isinstance(row.kind, kinds)
        and row.name not in _SKIPPED
    ]


def value(row: Keyword, rng: Rng) -> str:
    """Return a random value of a word."""
    kind = row.kind
    if isinstance(kind, Integer):
        top = min(kind.high, _LARGEST)
        number = rng.choice([kind.low, top, rng.randint(kind.low, top), rng.randint(kind.low, min(top, 9))])
        return "0" if row.zero and rng.random() < 0.1 else str(number)
    if isinstance(kind, Seconds):
        fractions = [3.5] if row.block != "vrrp_script" else []
        return f"{min(max(rng.choice([1, 2, rng.randint(3, 20), *fractions]), kind.low), kind.high):g}"
    if isinstance(kind, Boolean):
        return rng.choice(["", "on", "off", "true", "no"])
    return rng.choice(kind.choices) if isinstance(kind, Choice) else ""


def some_lines(block: str, rng: Rng, most: int = 7) -> list[str]:
    """Return random statements of a block; one in eight is repeated with another value."""
    rows = rng.sample(simple_words(block), rng.randint(0, most))
    for group in _ONE_OF:
        clashing = [row for row in rows if row.name in group]
        rows = [row for row in rows if row not in clashing[1:]]
    rows += [row for row in rows if rng.random() < 0.12]
    return [f"{row.name} {value(row, rng)}".rstrip() for row in rows]


def block(head: str, lines: Iterable[str]) -> str:
    return f"{head} {{\n" + "".join(f"{line}\n" for line in lines) + "}"


def tracked(rng: Rng, names: dict[str, list[str]]) -> list[str]:
    """Return track_ blocks that name some of the trackers, sometimes with a weight."""
    found = []
    for kind, known in names.items():
        chosen = rng.sample(known, rng.randint(0, len(known)))
        lines = [name + (f" weight {rng.randint(-20, 20)}" if rng.random() < 0.5 else "") for name in chosen]
        if lines and rng.random() < 0.6:
            found.append(block(f"track_{kind}", lines))
    return found


def trackers(rng: Rng) -> tuple[list[str], dict[str, list[str]]]:
    """Return the definitions of trackers, and their names by kind."""

    def weight() -> list[str]:
        return [f"weight {rng.randint(-30, 30)}"] if rng.random() < 0.5 else []

    names = {
        "script": ["s1", "s2"],
        "file": ["f1", "f2"],
        "process": ["p1", "p2"],
        "bfd": ["b1"],
        "interface": ["eth1", "lo"],
    }
    texts = [
        block(
            f"vrrp_script {name}",
            [f'script "/bin/true {name}"', *some_lines("vrrp_script", rng, 4), *weight()],
        )
        for name in [*names["script"], *GROUPED["script"]]
    ]
    texts += [
        block(f"track_file {name}", ["file /etc/hostname", *weight()])
        for name in [*names["file"], *GROUPED["file"]]
    ]
    texts += [
        block(f"vrrp_track_process {name}", [f"process no-{name}", *weight()])
        for name in [*names["process"], *GROUPED["process"]]
    ]
    texts += [
        block(f"bfd_instance {name}", ["neighbor_ip 10.0.0.99", "vrrp", *weight()]) for name in names["bfd"]
    ]
    return texts, names


def programs(rng: Rng, words: Iterable[str]) -> list[str]:
    """Return some programs to run; one in four is named twice."""
    chosen = [word for word in words if rng.random() < 0.3]
    return [f'{word} "/bin/true {word}"' for word in chosen] + [
        f'{word} "/bin/true second"' for word in chosen if rng.random() < 0.25
    ]


def addresses(rng: Rng, number: int, family: int) -> list[str]:
    """Return lines of virtual_ipaddress."""
    made = []
    for index in range(1, rng.randint(2, 4)):
        text = f"10.{number}.0.{index}" if family == 4 else f"2001:db8:{number}::{index}"
        if rng.random() < 0.7:
            text += rng.choice(["/24", "/32"] if family == 4 else ["/64", "/128"])
        if rng.random() < 0.3:
            text += f" dev {rng.choice(['eth0', 'eth1'])}"
        made.append(text)
    return made


def instance(rng: Rng, number: int, names: dict[str, list[str]]) -> str:
    """Return a vrrp_instance."""
    family = rng.choice([4, 4, 6])
    lines = ["interface eth0", f"virtual_router_id {number}", *some_lines("vrrp_instance", rng)]
    if rng.random() < 0.3:
        peer = f"10.200.0.{number}" if family == 4 else f"2001:db8:200::{number}"
        lines.append(block("unicast_peer", [peer + rng.choice(["", "/24", " min_ttl 3 max_ttl 200"])]))
    if rng.random() < 0.2:
        lines.append("use_vmac")
    if rng.random() < 0.3:
        inside = [f"auth_type {rng.choice(['PASS', 'AH'])}", f"auth_pass secret{number}"]
        lines.append(block("authentication", inside))
    lines += programs(rng, ("notify", "notify_master", "notify_backup", "notify_fault", "notify_stop"))
    lines += tracked(rng, names)
    rng.shuffle(lines)
    lines.append(block("virtual_ipaddress", addresses(rng, number, family)))
    if rng.random() < 0.4:
        lines.append(block("virtual_ipaddress_excluded", addresses(rng, number + 100, rng.choice([4, 6]))))
    return block(f"vrrp_instance I{number}", lines)


def vrrp_file(rng: Rng, accepts: Callable[[str], bool], count: int = 8) -> str:
    """Return a file of instances, some in a sync group. Instances that are not accepted are left out."""
    defined, names = trackers(rng)
    head = [block("global_defs", some_lines("global_defs", rng, 9)), *defined]
    if not accepts("\n".join(head)):
        head = defined
    made = [instance(rng, number, names) for number in range(1, count + 1)]
    kept = [text for text in made if accepts("\n".join([*head, text]))]
    members = [text.split()[1] for text in kept if rng.random() < 0.4]
    lines = [block("group", members), *tracked(rng, GROUPED), *some_lines("vrrp_sync_group", rng, 2)]
    group = [block("vrrp_sync_group G", lines)] if len(members) > 1 else []
    return "\n".join([*head, *group, *kept]) + "\n"


_CHECKS = (
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "MISC_CHECK",
)


def check(rng: Rng) -> str:
    """Return a checker."""
    name = rng.choice(_CHECKS)
    lines = some_lines(name, rng, 4)
    if name.endswith("_GET"):
        codes = [f"status_code {rng.choice(['200', '201', '300-302'])}" for _ in range(rng.randint(0, 2))]
        digests = [f"digest {rng.randint(0, 2**128 - 1):032x}" for _ in range(rng.randint(0, 2))]
        lines.append(block("url", [f"path /{rng.randint(0, 9)}", *codes, *digests]))
    if name == "MISC_CHECK":
        lines.append(f'misc_path "/bin/true {rng.randint(0, 9)}"')
    return block(name, lines)


def real_server(rng: Rng, number: int, port: int) -> str:
    """Return a real server, now and then with another port."""
    shown = rng.choice([port, port, port + 1])
    lines = some_lines("real_server", rng, 4)
    lines += programs(rng, ("notify_up", "notify_down"))
    lines += [check(rng) for _ in range(rng.randint(0, 2))]
    return block(f"real_server 10.9.0.{number} {shown}", lines)


def service(rng: Rng, number: int) -> str:
    """Return a virtual_server."""
    port = rng.choice([80, 443])
    lines = [f"lvs_method {rng.choice(['DR', 'DR', 'TUN'])}", "protocol TCP"]
    lines += some_lines("virtual_server", rng)
    lines += programs(rng, ("quorum_up", "quorum_down"))
    lines += [f"sorry_server 10.9.0.200 {port}"] if rng.random() < 0.3 else []
    lines += [real_server(rng, each, port) for each in range(1, rng.randint(2, 4))]
    return block(f"virtual_server 10.8.0.{number} {port}", lines)


def service_file(rng: Rng, accepts: Callable[[str], bool], count: int = 8) -> str:
    """Return a file of services. Those that are not accepted are left out."""
    made = [service(rng, number) for number in range(1, count + 1)]
    return "\n".join(text for text in made if accepts(text)) + "\n"
