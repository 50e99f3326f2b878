# SPDX-License-Identifier: Apache-2.0
"""Static addresses that cannot be removed: only one that stays is an error."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from pointsman.daemon.vrrp.static import StaticObjects
from pointsman.model.vrrp import StaticSettings, VirtualAddress
from pointsman.net.links import Link
from pointsman.net.netlink import NetlinkSocket

ADDRESS = VirtualAddress(address=ipaddress.IPv4Address("10.9.0.7"), prefix_length=24, device="eth0")
LINK = Link(index=1, name="eth0", mac=bytes(6), up=True, running=True)


@pytest.mark.parametrize(
    ("code", "is_logged"),
    [(errno.EADDRNOTAVAIL, False), (errno.ENODEV, False), (errno.EPERM, True)],
    ids=["no address", "no interface", "refused"],
)
def test_only_an_address_that_stays_is_logged(
    code: int, is_logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def batch(requests: Sequence[object]) -> list[OSError]:
        return [OSError(code, os.strerror(code)) for _ in requests]

    netlink = cast(NetlinkSocket, SimpleNamespace(batch=batch))
    static = StaticObjects(StaticSettings(addresses=(ADDRESS,)), netlink, {"eth0": LINK}, float)
    static.stop()
    text = f"cannot remove static address 10.9.0.7/24 on eth0: [Errno {code}] {os.strerror(code)}"
    assert [record.message for record in caplog.records] == ([text] if is_logged else [])
