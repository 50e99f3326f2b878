# SPDX-License-Identifier: Apache-2.0
"""A configuration on its way: what both ends have in common stays the same objects."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.conf.load import load_text
from pointsman.control.codec import ConfigDecoder, EncodedConfig, decoder, encode_config, encoder
from pointsman.model.config import Config
from pointsman.model.decoding import InvalidDataError


def config(*weights: int, lead: str = "") -> Config:
    return load_text(
        lead
        + "".join(
            f"virtual_server 10.0.0.{number} 80 {{\nprotocol TCP\nlvs_sched rr\nlvs_method DR\n"
            f"real_server 10.0.1.{number} 80 {{\nweight {weight}\nTCP_CHECK {{\n}}\n}}\n}}\n"
            for number, weight in enumerate(weights, 1)
        )
    ).config


def sent(wanted: Config) -> EncodedConfig:
    return decoder(EncodedConfig).decode(encoder.encode(encode_config(wanted)))


def test_only_what_is_new_is_decoded() -> None:
    first = config(1, 2, 3)
    receiver = ConfigDecoder(first.virtual_servers)
    second = receiver.decode(sent(config(1, 7, 3)))
    third = receiver.decode(sent(config(5, 7, 3)))
    assert [each.members[0].server.weight for each in third.virtual_servers] == [5, 7, 3]
    kept = [[one is other for one in first.virtual_servers] for other in second.virtual_servers]
    assert kept == [[True, False, False], [False, False, False], [False, False, True]]
    assert third.virtual_servers[1] is second.virtual_servers[1]
    assert third.virtual_servers[2] is first.virtual_servers[2]


def test_services_that_have_only_moved_in_the_file_or_in_their_order_are_known() -> None:
    first = config(1, 2)
    moved = config(1, 2, lead="# a comment\n\n")
    moved = msgspec.structs.replace(moved, virtual_servers=moved.virtual_servers[::-1])
    received = ConfigDecoder(first.virtual_servers).decode(sent(moved))
    assert all(
        one is other for one, other in zip(received.virtual_servers, first.virtual_servers[::-1], strict=True)
    )


def test_what_left_long_ago_is_forgotten() -> None:
    receiver = ConfigDecoder()
    for weight in range(1, 9):
        receiver.decode(sent(config(weight)))
    assert len(receiver._known) <= 2


@pytest.mark.parametrize("services", [b"{}", b"[1]", b'[{"service":{}}]'])
def test_services_of_another_shape_are_refused(services: bytes) -> None:
    with pytest.raises(InvalidDataError):
        ConfigDecoder().decode(EncodedConfig(Config(router_id="r"), msgspec.Raw(services)))
