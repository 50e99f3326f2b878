# SPDX-License-Identifier: Apache-2.0
"""The packet path on the kernels we claim: Debian 12's own, the oldest, and the newer one it offers.

One guest a kernel, both at once, each with a selection of tests that pytest runs inside.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.guest import machine
from tests.guest.machine import GuestError, Kernel, Outcome

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing()),
]

SELECTION = (
    "tests/guest/inside.py",
    "tests/guest/inside_interfaces.py",
    "tests/guest/inside_realserver.py",
    "tests/guest/inside_tunnels.py",
    "tests/bpf/test_attach.py::test_the_clock_runs_and_sweeps_without_a_director",
    "tests/bpf/test_attach.py::test_a_connection_survives_the_death_and_return_of_its_director",
)
OLDEST = "6.1"
ONCE = "tests/guest/inside_vrrp.py"
"""A test that needs a kernel with more features than the host's; it runs on the oldest one only."""
SECONDS = 1800
"""A bound for a loaded machine; an idle one takes a few minutes."""


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """All kernels at once."""
    folders = {kernel.name: tmp_path_factory.mktemp(f"guest-{kernel.name}") for kernel in machine.kernels()}
    pytest_here = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    # Compiles what the guests read: they cannot write it, and are slow to do it themselves.
    subprocess.run(
        [*pytest_here, "--collect-only", "--quiet", *SELECTION, ONCE], check=True, stdout=subprocess.DEVNULL
    )
    command = [*pytest_here, "--tb=short"]

    def start(kernel: Kernel) -> Outcome:
        folder = folders[kernel.name]
        report = f"--junit-xml={folder}/report.xml"
        once = [ONCE] if kernel.name == OLDEST else []
        return machine.run(kernel, [*command, report, *SELECTION, *once], folder, SECONDS, processors=1)

    with ThreadPoolExecutor() as pool:
        yield {kernel.name: pool.submit(start, kernel) for kernel in machine.kernels()}


def test_the_oldest_kernel_that_we_claim_is_among_them() -> None:
    assert OLDEST in [kernel.name for kernel in machine.kernels()]


@pytest.mark.parametrize("name", [kernel.name for kernel in machine.kernels()])
def test_kernel(guests: dict[str, Future[Outcome]], name: str) -> None:
    outcome = guests[name].result()
    assert outcome.code == 0, outcome.output
    suite = ElementTree.parse(outcome.folder / "report.xml").getroot().find("testsuite")
    assert suite is not None
    done = {key: int(suite.attrib[key]) for key in ("errors", "failures", "skipped")}
    assert done == {"errors": 0, "failures": 0, "skipped": 0}
    assert int(suite.attrib["tests"]) == (27 if name == OLDEST else 26)


def test_a_guest_says_what_went_wrong(tmp_path: Path) -> None:
    """An exit code comes back; what is not writable stays as it is; an endless command is ended."""
    kernel = machine.kernels()[0]
    script = f"touch {machine.PROJECT}/written-by-a-guest; echo out > {tmp_path}/written; exit 3"
    outcome = machine.run(kernel, ["sh", "-c", script], tmp_path, 60)
    assert outcome.code == 3
    assert "Read-only file system" in outcome.output
    assert (tmp_path / "written").read_text() == "out\n"
    with pytest.raises(GuestError, match="not finished after 8 s"):
        machine.run(kernel, ["sleep", "1000"], tmp_path, 8)
