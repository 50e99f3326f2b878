# SPDX-License-Identifier: Apache-2.0
"""A real server on the kernels we claim: what this machine's own kernel may lack. See test_kernels.py.

It is as good on the host: `pytest tests/guest/inside_realserver.py`.
"""

from __future__ import annotations

import subprocess

import pytest
from tests.support.realserver_place import SECOND, VIP, VIP6, RealServerHost, fresh_host

pytestmark = pytest.mark.root


def has_dummies() -> bool:
    made = subprocess.run(
        ["ip", "link", "add", "dummypmt", "type", "dummy"], capture_output=True, check=False
    )
    if made.returncode == 0:
        subprocess.run(["ip", "link", "delete", "dummypmt"], check=True)
    return made.returncode == 0


def on_the_dummy(place: RealServerHost) -> list[str]:
    shown = place.sh("ip -o address show dev dummy7 scope global")
    return sorted(line.split()[3] for line in shown.splitlines())


@pytest.mark.parametrize("method", ["sysctl", "nft"])
def test_a_dummy_takes_vips_of_both_families_and_goes_with_the_last(method: str) -> None:
    if not has_dummies():
        pytest.skip("this kernel has no dummy interfaces")
    with fresh_host() as place:
        snapshot = place.snapshot()
        place.up([VIP, VIP6], method, "dummy7")
        assert place.look() == []
        assert on_the_dummy(place) == [f"{VIP}/32", f"{VIP6}/128"]
        place.up([SECOND], "", "dummy7")
        place.down([VIP, VIP6])
        assert on_the_dummy(place) == [f"{SECOND}/32"]
        place.down()
        assert place.snapshot() == snapshot
