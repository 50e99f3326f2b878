# SPDX-License-Identifier: Apache-2.0
"""Random files mean to Pointsman what they mean to keepalived, as far as its dump (-d) shows it.

POINTSMAN_DIFFERENTIAL=SECONDS tries for that long with other seeds; the default is a few files.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.generated_config import service_file, vrrp_file
from tests.support.vrrp.keepalived import keepalived

from pointsman.conf.load import load_text
from pointsman.conf.text.problems import ConfError
from pointsman.model.checks import BfdCheck, Check, FileCheck, HttpCheck, MiscCheck, NetworkCheck
from pointsman.model.config import Config
from pointsman.model.health import PoolMember, VirtualServer
from pointsman.model.service import Forwarding
from pointsman.model.tracking import Command, Tracked, TrackKind, TrackScript
from pointsman.model.vrrp import PassAuthentication, VirtualAddress, VrrpInstance

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace of its own"),
]

SHIM = Path(__file__).parents[1] / "ipvsadm_shim.c"
SECONDS = float(os.environ.get("POINTSMAN_DIFFERENTIAL", "8"))
FILES = 6
"""Files of each kind without the variable."""

Fields = dict[str, str]


def accepts(text: str) -> bool:
    try:
        load_text(text)
    except ConfError:
        return False
    return True


def seeds() -> Iterator[int]:
    """Yield the same seeds each time, or others until the time is up."""
    if "POINTSMAN_DIFFERENTIAL" not in os.environ:
        yield from range(FILES)
        return
    end, seed = time.monotonic() + SECONDS, int(time.time())
    while time.monotonic() < end:
        yield (seed := seed + 1)


def plain_lines(output: str) -> list[str]:
    return [re.sub(r"^\w+ \w+ +\d+ [\d:]+ \d+: ?", "", line).rstrip() for line in output.splitlines()]


def compare(seed: int, name: str, theirs: Fields, ours: Fields) -> list[str]:
    """Return the fields that differ."""
    return [
        f"seed {seed} {name}: {field}: keepalived {theirs.get(field)!r}, Pointsman {value!r}"
        for field, value in ours.items()
        if theirs.get(field) != value
    ]


def switch(value: bool) -> str:
    return "yes" if value else "no"


def program(command: Command | None) -> str | None:
    if command is None:
        return None
    return " ".join(f"'{word}'" for word in ("/usr/bin/true", *command.words[1:]))


# VRRP

LISTS = {
    "Virtual IP": "addresses",
    "Virtual IP Excluded": "excluded",
    "Unicast Peer": "peers",
    "Tracked interfaces": "interface",
    "Tracked scripts": "script",
    "Tracked files": "file",
    "Tracked processes": "process",
    "Tracked BFDs": "bfd",
    "Tracking instances": "tracking",
}


def topology(output: str) -> dict[str, Fields]:
    """Return keepalived's dump: the fields of each instance and script. Lists are joined by `; `."""
    found: dict[str, Fields] = {}
    present: Fields = {}
    listing = ""
    for line in plain_lines(output.partition("< VRRP Topology >")[2]):
        text = line.strip()
        head = re.match(r"(VRRP Instance|VRRP Script) = (.*)", text)
        name, equals, value = text.partition(" = ")
        opened = re.match(r"([A-Z][A-Za-z ]+?)(?: \(\d+\))? ?:$", text)
        if head:
            present, listing = found.setdefault(f"{head[1]} {head[2]}", {}), ""
        elif opened:
            listing = LISTS.get(opened[1], "")
        elif text.startswith("------<"):
            present, listing = {}, ""
        elif equals or not listing:
            listing = ""
            name, _, value = (name, "", value) if equals else text.partition(" : ")
            present.setdefault(name, value)
        else:
            present[listing] = present.get(listing, "") + text + "; "
    return found


def scripts_of(output: str) -> dict[str, dict[str, str]]:
    """Return the weights of scripts by instance: keepalived lists those of a group only here."""
    return {
        name.removeprefix("VRRP Script "): dict(
            re.findall(r"(\S+), weight (-?\d+(?: reverse)?)", fields.get("tracking", ""))
        )
        for name, fields in topology(output).items()
        if name.startswith("VRRP Script ")
    }


def address(entry: VirtualAddress, instance: VrrpInstance) -> str:
    """Return an address with its interface: a virtual one as the base, with a sign."""
    bases = {each.name: f"@{each.base}" for each in instance.virtual_interfaces}
    length = "" if entry.prefix_length == entry.address.max_prefixlen else f"/{entry.prefix_length}"
    return f"{entry.address}{length} {bases.get(entry.device, entry.device)}"


def listed_addresses(text: str) -> str:
    """Return keepalived's list of addresses in the same form."""
    found = re.findall(r"([0-9a-f:.]+(?:/\d+)?)(?: brd \S+)? dev ([^\s;]+)", text)
    return "; ".join(
        f"{each} {'@' + device.partition('@')[2] if '@' in device else device}" for each, device in found
    )


def weight(tracked: Tracked) -> str:
    return f"{tracked.name} weight {tracked.weight}{' reverse' if tracked.reverse else ''}"


def listed_weights(text: str) -> str:
    return "; ".join(
        sorted(
            f"{name} weight {each}"
            for name, each in re.findall(r"(\w+)[,:]? weight (-?\d+(?: reverse)?)", text)
        )
    )


def expected_instance(one: VrrpInstance) -> Fields:
    fields: dict[str, str | None] = {
        "VRRP Version": str(one.version),
        "Wantstate": one.initial_state.value,
        "Gratuitous ARP delay": f"{one.garp_master_delay:g}",
        "Gratuitous ARP repeat": str(one.garp_master_repeat),
        "Gratuitous ARP refresh": f"{one.garp_master_refresh:g}",
        "Gratuitous ARP refresh repeat": str(one.garp_master_refresh_repeat),
        "Gratuitous ARP lower priority delay": f"{one.garp_lower_prio_delay:g}",
        "Gratuitous ARP lower priority repeat": str(one.garp_lower_prio_repeat),
        "Down timer adverts": str(one.down_timer_adverts),
        "Send advert after receive lower priority advert": str(not one.lower_prio_no_advert).lower(),
        "Virtual Router ID": str(one.virtual_router_id),
        "Priority": str(one.priority),
        "Advert interval": f"{one.advert_interval:g}",
        "Accept": "disabled" if one.no_accept else "enabled",
        "Preempt": "disabled" if one.nopreempt else "enabled",
        "Preempt delay": f"{one.preempt_delay:g} secs" if one.preempt_delay else None,
        "Promote_secondaries": "enabled" if one.promote_secondaries else "disabled",
        "Using smtp notification": switch(one.smtp_alert),
        "Notify priority changes": str(one.notify_priority_changes).lower(),
        "addresses": "; ".join(address(each, one) for each in one.addresses),
        "excluded": "; ".join(address(each, one) for each in one.excluded_addresses),
        "Password": one.authentication.password
        if isinstance(one.authentication, PassAuthentication)
        else None,
    }
    if one.unicast_peers:
        limits = {each.peer: each for each in one.ttl_limits}
        if one.family == 4:
            fields["Unicast TTL"] = str(one.unicast_ttl)
        fields["peers"] = "; ".join(
            f"{peer} min_ttl {limits[peer].low if peer in limits else 0} "
            f"max_ttl {limits[peer].high if peer in limits else 255}"
            for peer in one.unicast_peers
        )
    for state, command in (
        ("Master", one.notify.master),
        ("Backup", one.notify.backup),
        ("Fault", one.notify.fault),
        ("Stop", one.notify.stop),
        ("Generic", one.notify.every),
    ):
        fields[f"{state} state transition script"] = program(command)
    return {name: value or "" for name, value in fields.items()}


def their_instance(fields: Fields) -> Fields:
    """Return the fields of a dump in the form of `expected_instance`."""
    made = {**dict.fromkeys(("Preempt delay", "Password", "excluded", "peers"), ""), **fields}
    for name in list(made):
        if name.endswith("transition script"):
            made[name] = made[name].partition(", uid")[0]
    for state in ("Master", "Backup", "Fault", "Stop", "Generic"):
        made.setdefault(f"{state} state transition script", "")
    made["peers"] = made["peers"].removesuffix("; ")
    number, _, unit = made.get("Advert interval", "0 sec").partition(" ")
    made["Advert interval"] = f"{float(number) / (1000 if unit == 'milli-sec' else 1):g}"
    for name in ("addresses", "excluded"):
        made[name] = listed_addresses(made.get(name, ""))
    return made


def expected_script(script: TrackScript) -> Fields:
    return {
        "Command": program(script.command) or "",
        "Interval": f"{script.interval:g} sec",
        "Weight": f"{script.weight}{' reverse' if script.reverse else ''}",
        "Rise": str(script.rise),
        "Fall": str(script.fall),
    }


def vrrp_differences(tmp_path: Path, seed: int) -> list[str]:
    text = vrrp_file(random.Random(seed), accepts)
    config = load_text(text).config
    _, output = keepalived(tmp_path, text, "-n", "-l", "-d", "-P", until="< Interfaces")
    theirs = topology(output)
    found = []
    weights = scripts_of(output)
    for one in config.instances:
        dump = theirs.get(f"VRRP Instance {one.name}", {})
        ours = expected_instance(one)
        if any(one.name in group.members for group in config.vrrp.groups):
            del ours["Wantstate"]  # all members of a group begin alike
        found += compare(seed, one.name, their_instance(dump), ours)
        found += compare(seed, one.name, their_trackers(dump, one, weights, config), expected_trackers(one))
    for script in config.vrrp.scripts:
        if used := theirs.get(f"VRRP Script {script.name}"):
            found += compare(seed, script.name, used, expected_script(script))
    return found


def expected_trackers(one: VrrpInstance) -> Fields:
    return {
        kind.value: "; ".join(sorted(weight(each) for each in one.tracked if each.kind is kind))
        for kind in TrackKind
    }


def their_trackers(
    dump: Fields, one: VrrpInstance, weights: dict[str, dict[str, str]], config: Config
) -> Fields:
    """Return the trackers of a dump.

    Those of a group show with scripts only. Others of a member are compared as far as they are its own.
    """
    grouped = any(one.name in group.members for group in config.vrrp.groups)
    found = {kind.value: listed_weights(dump.get(kind.value, "")) for kind in TrackKind}
    found["script"] = "; ".join(
        sorted(f"{script} weight {by[one.name]}" for script, by in weights.items() if one.name in by)
    )
    if grouped:
        own = expected_trackers(one)
        for kind in ("interface", "file", "process", "bfd"):
            theirs = set(filter(None, found[kind].split("; ")))
            found[kind] = own[kind] if theirs <= set(own[kind].split("; ")) else found[kind]
    return found


# Virtual servers


def sections(output: str) -> tuple[dict[str, Fields], dict[str, Fields], dict[str, list[Fields]]]:
    """Return the fields of each virtual server, of each real server, and of the checks of each one."""
    services: dict[str, Fields] = {}
    servers: dict[str, Fields] = {}
    checks: dict[str, list[Fields]] = {}
    present: Fields = {}
    service = ""
    codes = False
    for line in plain_lines(output.partition("< LVS Topology >")[2]):
        text = line.strip()
        if found := re.match(r"VS VIP = (\S+), VPORT = (\d+)", text):
            service = f"{found[1]}:{found[2]}"
            present = services.setdefault(service, {})
        elif found := re.match(r"RIP = (\S+), RPORT = (\d+), WEIGHT = (-?\d+)", text):
            present = servers.setdefault(f"{service} {found[1]}", {"port": found[2], "weight": found[3]})
        elif found := re.match(r"\[(\S+)\]:tcp:(\d+) -> \[(\S+)\]:", text):
            present = {"codes": ""}
            checks.setdefault(f"{found[1]}:{found[2]} {found[3]}", []).append(present)
        elif text.startswith("HTTP Status Code"):
            codes = True
        elif codes and re.fullmatch(r"\d+(-\d+)?", text):
            present["codes"] += f"{text} "
        else:
            codes = False
            name, equals, value = text.partition(" = ")
            name, _, value = (name, "", value) if equals else text.partition(" is ")
            present.setdefault(name, value)
    return services, servers, checks


def expected_service(one: VirtualServer) -> Fields:
    service = one.service
    fields = {
        "lvs_sched": service.scheduler,
        "alpha": "ON" if one.alpha else "OFF",
        "omega": "ON" if one.omega else "OFF",
        "Using smtp notification": switch(one.smtp_alert),
        "Quorum up notify script": program(one.quorum_up_command) or "",
        "Quorum down notify script": program(one.quorum_down_command) or "",
        "persistence timeout": str(service.persistence) if service.persistence else "",
    }
    if any(member.server.weight for member in one.members):  # else keepalived shows 0 and its complement
        fields["quorum"] = f"{one.quorum}, hysteresis = {one.hysteresis}"
    for flag in ("sh-port", "sh-fallback", "mh-port", "mh-fallback"):
        if service.scheduler == flag[:2]:
            number = "flag-1" if flag.endswith("fallback") else "flag-2"
            fields[flag] = "disabled" if service.flags.isdisjoint((flag, number)) else "enabled"
    return fields


METHODS = {Forwarding.ROUTE: "DR", Forwarding.TUNNEL: "TUN, type = IPIP"}


def expected_server(one: PoolMember) -> Fields:
    server = one.server
    return {
        "port": str(server.key.port),
        "weight": str(server.weight),
        "forwarding method": METHODS[server.forwarding],
        "Inhibit on failure": "ON" if one.inhibit_on_failure else "OFF",
        "Using smtp notification": switch(one.smtp_alert),
        "RS up notify script": program(one.notify_up) or "",
        "RS down notify script": program(one.notify_down) or "",
    }


def expected_check(one: Check) -> Fields:
    """Return the fields that all checks have, and those of some."""
    assert not isinstance(one, FileCheck | BfdCheck)
    fields = {
        "Delay loop": f"{one.delay_loop * 1e6:.0f} us",
        "Warmup": f"{one.warmup * 1e6:.0f} us",
        "Retries": str(one.retry),
        "Log all failures": switch(one.log_all_failures),
    }
    if one.retry:  # keepalived shows it only then
        fields["Delay before retry"] = f"{one.delay_before_retry * 1e6:.0f} us"
    if isinstance(one, NetworkCheck):
        fields["Dest"] = f"[{one.connect_address}]:{one.connect_port}"
        fields["Timeout"] = f"{one.connect_timeout:.6f}"
    if isinstance(one, HttpCheck):
        url = one.urls[0]
        fields["Checked url"] = url.path
        fields["digest"] = url.digest
        fields["codes"] = _joined(url.status)
    if isinstance(one, MiscCheck):
        fields["script"] = program(one.command) or ""
        fields["dynamic"] = "YES" if one.dynamic else "NO"
    return fields


def _joined(ranges: tuple[tuple[int, int], ...]) -> str:
    """Return ranges as keepalived shows them: in order, with those that touch as one."""
    codes = sorted({code for low, high in ranges for code in range(low, high + 1)})
    starts = [code for code in codes if code - 1 not in codes]
    ends = [code for code in codes if code + 1 not in codes]
    return "".join(
        f"{low}-{high} " if low != high else f"{low} " for low, high in zip(starts, ends, strict=True)
    )


def their_program(fields: Fields) -> Fields:
    made = {name: value.partition(", uid")[0] for name, value in fields.items()}
    return {**dict.fromkeys(PROGRAMS, ""), **made}


PROGRAMS = (
    *("Quorum up notify script", "Quorum down notify script", "RS up notify script", "RS down notify script"),
    *("persistence timeout", "digest"),
)


def service_differences(tmp_path: Path, seed: int) -> list[str]:
    text = service_file(random.Random(seed), accepts)
    config = load_text(text).config
    shim = tmp_path.parent / "shim.so"
    if not shim.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, SHIM], check=True)
    options = ("-n", "-l", "-d", "-C")
    _, output = keepalived(tmp_path, text, *options, until="Activating healthchecker", preload=shim)
    services, servers, checks = sections(output)
    found = []
    for one in config.virtual_servers:
        name = f"{one.service.key.address}:{one.service.key.port}"
        found += compare(seed, name, their_program(services.get(name, {})), expected_service(one))
        for member in one.members:
            real = f"{name} {member.server.key.address}"
            found += compare(seed, real, their_program(servers.get(real, {})), expected_server(member))
            found += check_differences(seed, real, checks.get(real, []), member)
    return found


def check_differences(seed: int, name: str, theirs: list[Fields], member: PoolMember) -> list[str]:
    """Compare checks in the order of keepalived, which is that of the file; ours are ordered by kind."""
    ours = [expected_check(each) for each in member.checks]
    left = [their_program(each) for each in theirs]
    if len(ours) != len(left):
        return [f"seed {seed} {name}: checks: keepalived has {len(left)}, Pointsman {len(ours)}"]
    found = []
    for one in ours:
        like = min(left, key=lambda dump: len(compare(seed, name, dump, one)))
        left.remove(like)
        found += compare(seed, name, like, one)
    return found


@pytest.mark.parametrize("try_one", [vrrp_differences, service_differences])
def test_random_files_mean_the_same(tmp_path: Path, try_one: Callable[[Path, int], list[str]]) -> None:
    assert differences(tmp_path, try_one) == []


def differences(tmp_path: Path, try_one: Callable[[Path, int], list[str]]) -> list[str]:
    """Return the differences of all seeds, at most so many that a person reads them."""
    found: list[str] = []
    for seed in seeds():
        directory = tmp_path / f"{try_one.__name__}-{seed}"
        directory.mkdir()  # a killed keepalived leaves its pid files behind
        found += try_one(directory, seed)
        shutil.rmtree(directory)
        if len(found) > 50:
            break
    return found
