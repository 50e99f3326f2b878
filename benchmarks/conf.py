# SPDX-License-Identifier: Apache-2.0
"""Compare `pointsman check` with `keepalived -t` on files of 10,000 virtual servers with four real servers.

The results are CPU time (user and system; the least of several alternating rounds) and peak memory.
keepalived runs in an empty network namespace, because it reads the interfaces.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

RESULT = Path("build/bench/conf.json")
SERVICES, REALS = 10_000, 4
ROUNDS = 7
SLOW = "no shape twice"

_SERVICE = """
virtual_server {vip} {port} {{
    delay_loop 6
    lvs_sched wrr
    lvs_method DR
    protocol TCP
    persistence_timeout 600
{more}
{reals}
}}
"""
_REAL = """    real_server {rip} {port} {{
        weight {weight}
        inhibit_on_failure
        TCP_CHECK {{
            connect_timeout 3
            retry 3
            delay_before_retry 3
            warmup 1
            bindto 192.0.2.1
        }}
    }}
"""


def text(port: Callable[[int], int], weight: Callable[[int], int], more: Callable[[int], str]) -> str:
    """Return a file. The functions return the parts that differ from service to service, by its number."""
    blocks = ["global_defs {\n    router_id lb-01\n}\n"]
    for number in range(SERVICES):
        reals = "\n".join(
            _REAL.format(
                rip=f"172.{16 + index // 65536}.{index // 256 % 256}.{index % 256}",
                port=port(number),
                weight=weight(index),
            )
            for index in range(number * REALS, (number + 1) * REALS)
        )
        vip = f"10.1.{number // 256}.{number % 256}"
        blocks.append(_SERVICE.format(vip=vip, port=port(number), more=more(number), reals=reals))
    return "".join(blocks)


_PAGE = """    real_server {rip} {port} {{
        weight {weight}
        notify_down "/usr/bin/true {rip}"
        HTTP_GET {{
            connect_timeout 3
            delay_before_retry 3
            url {{
                path /status/{number}
                status_code 200
            }}
        }}
    }}
"""


def pages() -> str:
    """Return a file with one to seven real servers, each with its own weight, page and program."""
    blocks = ["global_defs {\n    script_user root\n    enable_script_security\n}\n"]
    index = 0
    for number in range(SERVICES):
        reals = []
        for _ in range(1 + number % 7):
            index += 1
            rip = f"172.{16 + index // 65536}.{index // 256 % 256}.{index % 256}"
            real = _PAGE.format(rip=rip, port=80 + number % 900, weight=1 + index % 97, number=number)
            reals.append(real)
        vip = f"10.1.{number // 256}.{number % 256}"
        more = f"    virtualhost www{number}.example.org"
        text = _SERVICE.format(vip=vip, port=80 + number % 900, more=more, reals="\n".join(reals))
        blocks.append(text)
    return "".join(blocks)


FILES: dict[str, Callable[[], str]] = {
    "all alike": lambda: text(lambda _: 80, lambda _: 1, lambda _: ""),
    "own ports, 3 weights": lambda: text(lambda n: 1000 + n, lambda n: n % 3 + 1, lambda _: "    # web"),
    "own virtualhosts": lambda: text(
        lambda _: 80, lambda _: 1, lambda n: f"    virtualhost www{n}.example.org"
    ),
    "1-7 servers, all differ": pages,
    "own times": lambda: text(lambda _: 80, lambda _: 1, lambda n: f"    warmup {n + 1}.5"),
    SLOW: lambda: text(lambda _: 80, lambda _: 1, lambda n: f"    warmup 0{n}.5"),
}


def measured(command: Sequence[str]) -> tuple[float, int]:
    """Return CPU seconds and peak memory (KiB) of a program and its children. Its exit code must be 0."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def least(found: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return the least CPU time and the largest memory of all rounds."""
    return {"seconds": round(min(each[0] for each in found), 3), "KiB": max(each[1] for each in found)}


def main() -> None:
    """Measure, print, and write build/bench/conf.json."""
    if shutil.which("keepalived") is None or os.geteuid() != 0:
        print("bench conf needs keepalived, and root for a network namespace")
        sys.exit(1)
    pair: dict[str, list[str]] = {
        "pointsman": [sys.executable, "-m", "pointsman", "check"],
        "keepalived": ["unshare", "--net", "keepalived", "-G", "-t", "-f"],
    }
    results: dict[str, object] = {"host": platform.platform(), "python": platform.python_version()}
    print(f"{SERVICES} virtual servers x {REALS} real servers; CPU time, least of some rounds\n")
    print(f"{'file':24}{'lines':>9}{'pointsman':>12}{'MiB':>6}{'keepalived':>12}{'MiB':>6}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in FILES.items():
            file = Path(folder) / "keepalived.conf"
            file.write_text(make())
            lines = file.read_bytes().count(b"\n")
            found: dict[str, list[tuple[float, int]]] = {who: [] for who in pair}
            for _ in range(1 if name == SLOW else ROUNDS):
                for who, command in pair.items():
                    found[who].append(measured([*command, str(file)]))
            ours, theirs = least(found["pointsman"]), least(found["keepalived"])
            ratio = ours["seconds"] / theirs["seconds"]
            results[name] = {
                "lines": lines,
                "pointsman": ours,
                "keepalived": theirs,
                "ratio": round(ratio, 2),
            }
            print(
                f"{name:24}{lines:9}{ours['seconds']:10.2f} s{ours['KiB'] / 1024:6.0f}"
                f"{theirs['seconds']:10.2f} s{theirs['KiB'] / 1024:6.0f}{ratio:8.2f}"
            )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
