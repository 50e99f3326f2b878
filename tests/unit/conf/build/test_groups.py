# SPDX-License-Identifier: Apache-2.0
"""virtual_server_group and firewall marks: which services they stand for."""

from __future__ import annotations

import pytest

from pointsman.conf.load import load_text
from pointsman.conf.show.config import show_config
from pointsman.conf.text.problems import ConfError
from pointsman.model.checks import TcpCheck
from pointsman.model.config import Config
from pointsman.model.naming import virtual_name

GROUP = """
virtual_server_group web {{
    {lines}
}}
virtual_server group web {{
    protocol {protocol}
    lvs_method DR
    real_server {real} {{
        TCP_CHECK {{
        }}
    }}
}}
"""


def load(lines: str, real: str = "192.0.2.20", protocol: str = "TCP") -> Config:
    return load_text(GROUP.format(lines=lines, real=real, protocol=protocol)).config


def services(config: Config) -> list[str]:
    return [str(virtual.service.key) for virtual in config.virtual_servers]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("10.0.0.1 80\n10.0.0.2 80", ["TCP 10.0.0.1:80", "TCP 10.0.0.2:80"]),
        ("10.0.0.1 80\n10.0.0.1 443", ["TCP 10.0.0.1:80", "TCP 10.0.0.1:443"]),
        ("10.0.0.254-1 80", None),
        ("10.0.0.1-3 80", ["TCP 10.0.0.1:80", "TCP 10.0.0.2:80", "TCP 10.0.0.3:80"]),
        ("10.0.0.255-10.0.1.0 80", ["TCP 10.0.0.255:80", "TCP 10.0.1.0:80"]),
        ("10.0.0.5/31 80", ["TCP 10.0.0.4:80", "TCP 10.0.0.5:80"]),
        ("10.0.0.1 80\n10.0.0.1-1 80", ["TCP 10.0.0.1:80"]),
    ],
)
def test_a_group_is_a_service_for_each_address(lines: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ConfError, match="it ends before it begins"):
            load(lines)
        return
    config = load(lines)
    assert services(config) == expected
    assert [virtual.leads for virtual in config.virtual_servers] == [True] + [False] * (len(expected) - 1)
    assert {virtual_name(virtual) for virtual in config.virtual_servers} == {"[web]:0"}


@pytest.mark.parametrize(("real", "port"), [("192.0.2.20", 80), ("192.0.2.20 8080", 8080)])
def test_all_services_of_a_group_share_their_checks(real: str, port: int) -> None:
    config = load("10.0.0.1 80\n10.0.0.1 443\n10.0.0.2 80", real)
    found = {check for virtual in config.virtual_servers for check in virtual.members[0].checks}
    (check,) = found
    assert isinstance(check, TcpCheck) and check.connect_port == port
    assert [virtual.members[0].server.key.port for virtual in config.virtual_servers] == [80, 443, 80]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("10.0.0.x 80", "10.0.0.x is not an IP address"),
        ("10.0.0.1 80 tcp", "tcp after the port"),
        ("10.0.0.1 99999", "99999"),
        ("10.0.0.0/8 80", "more than 65536 addresses"),
        ("10.0.0.1-300 80", "300 does not end a range"),
        ("10.0.0.1/33", "10.0.0.1/33 is not a range of addresses"),
        ("fwmark 0", "fwmark 0 is not a number from 1"),
        ("fwmark 1 ipv6", "ipv6 is neither inet nor inet6"),
        ("", "virtual_server_group web has no address"),
    ],
)
def test_mistakes_in_groups(lines: str, text: str) -> None:
    with pytest.raises(ConfError) as caught:
        load(lines)
    assert text in str(caught.value)


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(ConfError, match="there is no virtual_server_group other"):
        load_text(
            GROUP.format(lines="10.0.0.1 80", real="192.0.2.20", protocol="TCP").replace(
                "group web {\n    p", "group other {\n    p"
            )
        )


def test_a_group_survives_being_written_and_read_again() -> None:
    config = load("10.0.0.1-3 80\n10.0.0.9 443", "192.0.2.20 80")
    again = load_text(show_config(config)).config
    assert services(again) == services(config)
    assert show_config(again) == show_config(config)
    assert [virtual.group for virtual in again.virtual_servers] == ["web"] * 4


def test_with_nftables_ipvs_a_group_is_one_service_with_a_mark() -> None:
    text = GROUP.format(lines="10.0.0.1-2 80\n10.0.0.1 443", real="192.0.2.20 80", protocol="TCP")
    config = load_text("global_defs {\nnftables_ipvs\nnftables_ipvs_start_fwmark 7\n}\n" + text).config
    (virtual,) = config.virtual_servers
    assert str(virtual.service.key) == "FWM 7" and virtual.leads
    assert {str(front) for front in virtual.service.fronts} == {
        *("TCP 10.0.0.1:80", "TCP 10.0.0.2:80", "TCP 10.0.0.1:443"),
    }
    (check,) = virtual.members[0].checks
    assert isinstance(check, TcpCheck) and check.connect_port == 80
    assert virtual.members[0].server.key.port == 0
    again = load_text(show_config(config)).config
    assert again.virtual_servers[0].service == virtual.service and show_config(again) == show_config(config)
