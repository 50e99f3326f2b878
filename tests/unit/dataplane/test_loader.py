"""libbpf as the loader opens it."""

from __future__ import annotations

import ctypes.util

import pytest

from pointsman.dataplane.xdp import loader


@pytest.mark.skipif(ctypes.util.find_library("bpf") is None, reason="libbpf is not installed")
def test_libbpf_calls_no_python() -> None:
    """An exception (Ctrl-C) inside a ctypes callback is printed and forgotten: `lab demo` went on."""
    library = loader._library()
    assert library.libbpf_set_print(None) is None, "the printer that was set before"
