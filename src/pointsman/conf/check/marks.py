# SPDX-License-Identifier: Apache-2.0
"""Check that somebody sets the firewall marks of services: otherwise they get no packet."""

from __future__ import annotations

from pointsman.conf.text.problems import Findings
from pointsman.model.config import Config

_SERVICE = len("virtual_server")


def check_marks(config: Config, tc: bool, findings: Findings) -> None:
    """Report services of marks. `tc`: the data plane is attached behind tc filters, which can set marks."""
    for server in config.virtual_servers:
        key = server.service.key
        if not key.fwmark or server.service.fronts:
            continue
        if tc:
            text = f"{key}: only marks of tc filters are visible here, not those of nftables and iptables"
            findings.warning(server.location, text, "set the mark by tc, or write addresses", _SERVICE)
            continue
        text = f"{key} would get no packet: marks of nftables and iptables are not visible here"
        remedy = (
            "write a virtual_server_group with the addresses and ports (nftables_ipvs makes it one service), "
            "or mark by tc filters and use --xdp-mode tc"
        )
        findings.error(server.location, text, remedy, _SERVICE)
