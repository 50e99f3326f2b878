"""libbpf as the binding opens it."""

from __future__ import annotations

from pointsman.dataplane.xdp import libbpf


def test_libbpf_calls_no_python() -> None:
    """An exception (Ctrl-C) inside a ctypes callback is printed and forgotten: `lab demo` went on."""
    library = libbpf.library()
    assert library.libbpf_set_print(None) is None, "the printer that was set before"
