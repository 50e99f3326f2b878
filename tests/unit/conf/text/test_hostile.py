# SPDX-License-Identifier: Apache-2.0
"""Files that were made to hurt: a clear error, within bounds of memory, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MEMORY = 200 * 1024
"""KiB that `pointsman check` may take at most."""

MEASURED = """
import atexit, runpy, sys
from pathlib import Path
def tell() -> None:
    print("\\n" + Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(tell)
runpy.run_module("pointsman", run_name="__main__", alter_sys=True)
"""
"""The program, which says in the last line of its errors how many KiB it had at most.

getrusage would tell of the memory of whoever started it, too.
"""


def sparse(path: Path) -> None:
    """A gigabyte without a line end."""
    with path.open("wb") as file:
        file.truncate(1 << 30)


def one_line(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(60):
            file.write(b"x" * (1 << 20))


def bomb(path: Path) -> None:
    path.write_text("$A=${B}${B}\n$B=${C}${C}\n$C=${A}${A}\nx ${A}\n")


def many(text: str, count: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(text * count)

    return write


def included(path: Path) -> None:
    path.write_text("include keepalived.conf\ninclude .\n")


def expanded(path: Path) -> None:
    path.write_text("$A=" + "y " * 500 + "\nvirtual_server 10.0.0.1 80 {\n" + "$A\n" * 900_000)


def sequences(path: Path) -> None:
    path.write_text("~SEQ(i, 60000) virtual_server 10.0.0.1 80 { $i }\n" * 30)


def shapes(path: Path) -> None:
    path.write_text("".join(f"virtual_server 10.0.0.1 80 {{\nvirtualhost {n}\n}}\n" for n in range(150_000)))


SERVERS = "".join(f"real_server 10.1.1.{n} 80{{}}" + " \n"[n % 2] for n in range(38))


def servers(path: Path) -> None:
    """Blocks of one shape, which are not even read: only the models take memory."""
    block = "virtual_server 10.0.%d.%d 80 {\nlvs_method DR\nprotocol TCP\n" + SERVERS.replace(
        " real", "\nreal"
    )
    path.write_text("".join(f"{block % (n // 256, n % 256)}}}\n" for n in range(23_000)))


def group(path: Path) -> None:
    ranges = "".join(f"10.2.{n}.1-254 80\n" for n in range(256))
    service = f"virtual_server group g {{\nlvs_method DR\nprotocol TCP\n{SERVERS}}}\n"
    path.write_text(f"virtual_server_group g {{\n{ranges}}}\n{service}")


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a gigabyte without a line end": (sparse, "larger than 64 MiB"),
    "a line of 60 MiB": (one_line, "the line has 62914560 bytes"),
    "braces": (many("{", 100_000), "the line has 100000 bytes"),
    "braces on lines": (many("a {\n", 100_000), "nested deeper than 32"),
    "closing braces": (many("}\n", 100_000), "this } closes no block"),
    "NUL bytes": (many("a\0b\n", 1000), "a NUL byte"),
    "no text": (many("\udcff\n".encode("utf-8", "surrogateescape").decode("latin-1"), 10), "unknown keyword"),
    "itself": (included, "includes itself"),
    "definitions": (bomb, "never stops expanding"),
    "words": (many("a b c d\n", 900_000), "more than 200000 words"),
    "empty services": (many("virtual_server a b {}\n", 900_000), "more than 200000 virtual servers"),
    "services that are never closed": (many("virtual_server a b {\n", 900_000), "not closed|deeper"),
    "services of other shapes": (shapes, "without lvs_method"),
    "more servers than anybody has": (servers, "more than 150000 virtual servers, real servers and checks"),
    "a group of more": (group, "more than 150000 virtual servers, real servers and checks"),
    "half services": (many("virtual_server a b {\nx {\n}\n", 300_000), "deeper|not closed"),
    "lines that grow": (expanded, "make more than 100000 lines|is too long"),
    "sequences": (sequences, "make more than 100000 lines"),
    "definitions that nobody uses": (many("$A=1\n", 900_000), "nothing"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused_within_bounds(tmp_path: Path, name: str) -> None:
    write, text = FILES[name]
    file = tmp_path / "keepalived.conf"
    write(file)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "check", str(file)], capture_output=True, text=True, check=False
    )
    errors, _, peak = done.stderr.strip().rpartition("\n")
    assert "Traceback" not in errors
    assert done.returncode == (0 if text == "nothing" else 2)
    assert any(each in " ".join(done.stdout.split()) for each in text.split("|")), done.stdout[:2000]
    assert int(peak) < MEMORY
