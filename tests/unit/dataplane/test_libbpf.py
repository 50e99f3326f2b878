# SPDX-License-Identifier: Apache-2.0
"""The libbpf binding: what it gives back, and what it raises. Nothing here needs root."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pointsman.dataplane.interface import DataPlaneError
from pointsman.dataplane.xdp.kernel import batches, layout, libbpf, loader
from pointsman.dataplane.xdp.kernel.btf import Field, TypeInformation

NO_DESCRIPTOR = -1

pytestmark = pytest.mark.skipif(ctypes.util.find_library("bpf") is None, reason="libbpf is not installed")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EAGAIN, "try again"), (errno.EMFILE, "open files"), (errno.EINVAL, "kernel may be too old")],
)
def test_a_refused_object_has_the_advice_for_its_error(number: int, advice: str) -> None:
    assert advice in str(loader._load_failure(number, Path("director.bpf.o")))


def test_libbpf_calls_no_python() -> None:
    """An exception (Ctrl-C) inside a ctypes callback is printed and forgotten: `lab demo` went on."""
    library = libbpf.library()
    assert library.libbpf_set_print(None) is None, "the printer that was set before"


@pytest.mark.parametrize(
    "call",
    [
        lambda fd: libbpf.map_lookup(fd, bytes(4), 8),
        lambda fd: libbpf.map_update(fd, bytes(4), bytes(8)),
        lambda fd: libbpf.map_delete(fd, bytes(4)),
        lambda fd: libbpf.map_keys(fd, 4),
        lambda fd: batches.lookup(fd, 1, 8),
        lambda fd: libbpf.queue_pop(fd, 8),
        libbpf.map_info,
        lambda fd: libbpf.run_program(fd, bytes(64)),
        lambda fd: libbpf.link_update(fd, fd),
        libbpf.link_detach,
    ],
)
def test_a_failure_is_an_os_error_with_the_errno(call: Callable[[int], object]) -> None:
    with pytest.raises(OSError) as caught:
        call(NO_DESCRIPTOR)
    assert caught.value.errno in (errno.EBADF, errno.EBADFD, errno.EPERM)
    assert caught.value.strerror == os.strerror(caught.value.errno)


def test_a_path_without_a_pin_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        libbpf.open_pinned(tmp_path / "nothing")
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing(name: str, **_: object) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    libbpf.library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    yield
    libbpf.library.cache_clear()


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("use", [TypeInformation, lambda path: loader.load(path, {}, b"", {}, frozenset())])
def test_without_libbpf_the_package_is_named(use: Callable[[Path], object]) -> None:
    with pytest.raises(DataPlaneError, match="install the package libbpf1"):
        use(layout.OBJECT)


def test_an_object_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "some.o"
    path.write_bytes(b"no object")
    with pytest.raises(DataPlaneError, match="cannot be read as a BPF object"):
        loader.load(path, {}, b"", {}, frozenset())
    with pytest.raises(ValueError, match="carries no BTF"):
        TypeInformation(path)
    with pytest.raises(FileNotFoundError):
        TypeInformation(tmp_path / "nothing.o")


def test_types_are_read_from_the_object() -> None:
    types = TypeInformation(layout.OBJECT)
    assert types.struct_size("dest") == 64
    assert types.fields("front6")["address"] == Field(0, 16)
    assert types.fields("dest")["egress"] == Field(8, 8)
    assert types.enumeration("dest_bit")["DEST_AVAILABLE_BIT"] == 63
    assert types.maps()["pm_virtual_macs"] == {"type": 1, "max_entries": 4096, "key": 8, "value": 1}
    for missing in (types.struct_size, types.enumeration, types.fields):
        with pytest.raises(ValueError, match="no type nothing"):
            missing("nothing")


def test_the_kernels_types_are_read_too() -> None:
    path = Path("/sys/kernel/btf/vmlinux")
    if not path.exists():
        pytest.skip("this kernel carries no BTF")
    assert TypeInformation(path).enumeration("bpf_map_type")["BPF_MAP_TYPE_ARRAY"] == 2
