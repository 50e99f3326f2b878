"""The hash under which maps are pinned stands for everything that both sides must agree on."""

from __future__ import annotations

import pytest
from tests.bpf.harness import SMALL

from pointsman.dataplane.xdp import btf, layout, libbpf
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
