# SPDX-License-Identifier: Apache-2.0
"""Remedies for the kernel's drop reasons."""

from __future__ import annotations

import pytest

from pointsman.trace.drop_reasons import explain


@pytest.mark.parametrize(
    ("interface", "setting"),
    [("eth0", "net.ipv4.conf.eth0.rp_filter"), ("eth0.100", "net/ipv4/conf/eth0.100/rp_filter")],
)
@pytest.mark.parametrize("answer", [False, True])
def test_the_remedy_names_the_interface_so_that_sysctl_finds_it(
    interface: str, setting: str, answer: bool
) -> None:
    text = explain("IP_RPFILTER", "ip_rcv_finish_core", interface, "192.0.2.9", answer=answer)
    assert text.endswith(f"Remedy: sysctl -w {setting}=2")
