"""How errors of the operating system are told."""

from __future__ import annotations


def said(error: OSError) -> str:
    """`/tmp/x: Permission denied`, without the error's number."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
