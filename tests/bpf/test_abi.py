# SPDX-License-Identifier: Apache-2.0
"""The hash under which maps are pinned stands for everything that both sides must agree on."""

from __future__ import annotations

import pytest
from tests.support.program_run import SMALL

from pointsman.dataplane.xdp.kernel import btf, layout, libbpf
from pointsman.dataplane.xdp.plane import XdpDataPlane
from pointsman.dataplane.xdp.tables import CONTROL, LOCAL_MACS_MAP


@pytest.mark.root
def test_the_object_tells_of_its_maps_as_the_kernel_does() -> None:
    told = btf.TypeInformation(layout.OBJECT).maps()
    plane = XdpDataPlane.for_tests(SMALL)
    descriptors = plane.tables.descriptors
    made = {
        name: libbpf.map_info(fd) for name, fd in descriptors.items() if name not in (CONTROL, LOCAL_MACS_MAP)
    }
    assert {name: (shape["type"], shape["key"], shape["value"]) for name, shape in told.items()} == {
        name: (info.kind, info.key_size, info.value_size) for name, info in made.items()
    }
    assert libbpf.map_info(descriptors[LOCAL_MACS_MAP]).value_size == 8 * layout.LOCAL_MACS
    plane.close(keep_forwarding=False)


@pytest.mark.parametrize("change", ["more", "fewer", "larger"])
def test_other_maps_are_another_abi(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    types = btf.TypeInformation(layout.OBJECT)
    before, maps = layout.check(types), types.maps()
    if change == "more":
        maps["queue"] = maps["pm_tx_devices"]
    elif change == "fewer":
        del maps["pm_tx_devices"]
    else:
        maps["pm_tx_devices"] = maps["pm_tx_devices"] | {"max_entries": 2048}
    monkeypatch.setattr(types, "maps", lambda: maps)
    assert layout.check(types) != before


@pytest.mark.root
def test_bpftool_on_a_shared_host_tells_whose_every_map_is() -> None:
    plane = XdpDataPlane.for_tests(SMALL)
    names = {name: libbpf.map_info(fd).name for name, fd in plane.tables.descriptors.items()}
    plane.close(keep_forwarding=False)
    assert all(name.startswith("pm_") for name in names)
    assert {name: kept.removeprefix(".data.") for name, kept in names.items()} == {n: n for n in names}, (
        "the kernel keeps 15 characters: none is cut off"
    )


@pytest.mark.parametrize("enumeration", [*layout.ENUMS, "layout_number"])
def test_a_flag_or_number_that_differs_is_refused(enumeration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    types = btf.TypeInformation(layout.OBJECT)
    read = types.enumeration

    def changed(name: str) -> dict[str, int]:
        values = read(name)
        if name == enumeration:
            values[next(iter(values))] += 1
        return values

    monkeypatch.setattr(types, "enumeration", changed)
    with pytest.raises(ValueError, match="the BPF object"):
        layout.check(types)


def test_a_packet_that_goes_on_is_no_exit() -> None:
    types = btf.TypeInformation(layout.OBJECT)
    reasons, exits = types.enumeration("exit_reason"), layout.Vocabulary(types).exits
    assert len(exits) == reasons["GO_ON"] == types.maps()["pm_exits"]["max_entries"]
    assert not any("go_on" in name for name in exits)
