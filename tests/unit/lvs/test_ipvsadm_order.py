# SPDX-License-Identifier: Apache-2.0
"""The order of listings where ipvsadm's comparison overflows."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from pointsman.lvs.ipvsadm import order
from pointsman.lvs.ipvsadm.order import sort_services
from pointsman.model.service import RealServer, ServerKey, ServiceEntry, ServiceKey, Transport, VirtualService


def sort_servers(servers: list[RealServer]) -> list[RealServer]:
    return order.sort_servers(servers, lambda server: server.key)


def servers(*hosts: str) -> list[RealServer]:
    return [RealServer(key=ServerKey(ipaddress.ip_address(host), 80)) for host in hosts]


def test_the_ring_of_addresses_comes_out_as_recorded() -> None:
    """Recorded in 4_ipvsadm_errors, entries 91 and 104; the kernel hands out the newest first."""
    assert sort_servers(servers("8.8.8.8", "127.0.0.1", "192.168.100.9", "192.168.100.11")) == servers(
        "192.168.100.9", "192.168.100.11", "8.8.8.8", "127.0.0.1"
    )
    assert sort_servers(servers("8.8.8.8", "127.0.0.1", "192.168.100.9")) == servers(
        "8.8.8.8", "127.0.0.1", "192.168.100.9"
    )


def test_ports_and_families() -> None:
    low, high = (RealServer(key=ServerKey(ipaddress.ip_address("10.0.0.1"), port)) for port in (80, 443))
    six = RealServer(key=ServerKey(ipaddress.ip_address("::1"), 1))
    assert sort_servers([six, high, low]) == [low, high, six]


def test_services_by_mark_family_transport_address_port() -> None:
    keys = [
        ServiceKey.mark(2**32 - 1),
        ServiceKey.of(Transport.TCP, ipaddress.ip_address("10.0.0.9"), 443),
        ServiceKey.of(Transport.UDP, ipaddress.ip_address("10.0.0.1"), 53),
        ServiceKey.of(Transport.SCTP, ipaddress.ip_address("10.0.0.1"), 9),
        ServiceKey.of(Transport.TCP, ipaddress.ip_address("fd00::1"), 80),
        ServiceKey.mark(3),
        ServiceKey.mark(3, ipv6=True),
    ]
    entries = [ServiceEntry(VirtualService(key=key)) for key in keys]
    assert sort_services(list(reversed(entries)), lambda entry: entry.service.key) == entries


KEYS = st.builds(
    ServiceKey.of,
    st.sampled_from(list(Transport)),
    st.sampled_from(["10.0.0.1", "10.0.0.9", "127.0.0.1", "8.8.8.8", "192.0.2.1", "fd00::1", "fd00::2"]).map(
        ipaddress.ip_address
    ),
    st.integers(1, 3),
)


@given(st.lists(KEYS | st.integers(1, 2**32 - 1).map(ServiceKey.mark), max_size=12))
def test_a_sort_by_ranks_is_the_sort_by_comparisons(keys: list[ServiceKey]) -> None:
    compared = order._merge_sort(keys, order._compare_services)
    assert sort_services(keys, lambda key: key) == compared
    servers = [RealServer(key=ServerKey(key.address, key.port)) for key in keys if key.address]
    assert sort_servers(servers) == order._merge_sort(
        servers, lambda one, other: order._compare_servers(one.key, other.key)
    )
