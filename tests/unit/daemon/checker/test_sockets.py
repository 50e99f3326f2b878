# SPDX-License-Identifier: Apache-2.0
"""Sockets of probes with a source address."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from pointsman.daemon.checker.probes.sockets import open_socket
from pointsman.model.checks import PingCheck

pytestmark = pytest.mark.root


@pytest.mark.parametrize(("address", "protocol"), [("127.0.0.1", "icmp"), ("::1", "ipv6-icmp")])
def test_a_raw_socket_is_bound_to_the_source(address: str, protocol: str) -> None:
    here = ipaddress.ip_address(address)
    check = PingCheck(connect_address=here, connect_port=0, bind_address=here)
    with open_socket(check, socket.SOCK_RAW, socket.getprotobyname(protocol)) as sock:
        assert sock.getsockname()[0] == address
