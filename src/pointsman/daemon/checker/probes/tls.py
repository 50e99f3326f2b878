"""Contexts of SSL_GET: what it shows to the real server, and what it trusts.

Their files may be readable for root alone, as a key should be; the checker is nobody. So it loads them before
it gives up being root, and starts anew when a reload finds others (`state`).
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pointsman.daemon.checker.probes.probe import ProbeUnableError
from pointsman.model.checks import ClientCertificate, HttpCheck
from pointsman.model.health import AnyCheck


class _Needs(NamedTuple):
    """What a context is made of."""

    shown: ClientCertificate | None
    verify: bool
    authority: str

    @classmethod
    def of(cls, check: HttpCheck) -> _Needs:
        return cls(check.shown, check.verify, check.authority if check.verify else "")

    @property
    def files(self) -> list[str]:
        shown = (self.shown.certificate, self.shown.key) if self.shown else ()
        return [name for name in (*shown, self.authority) if name]


def context(check: HttpCheck) -> ssl.SSLContext:
    """The context of this check's connections. Raises ProbeUnableError for a file that cannot be used."""
    made = _made(_Needs.of(check))
    if isinstance(made, str):
        raise ProbeUnableError(made)
    return made


def load(checks: Iterable[AnyCheck]) -> None:
    """Read the files of these checks now; one that cannot be used is told by the probe that needs it."""
    for needs in _needed(checks):
        _made(needs)


def state(checks: Iterable[AnyCheck]) -> object:
    """What `load` depends on: it equals an earlier one as long as nothing has to be loaded again."""
    return {needs: tuple(map(_age, needs.files)) for needs in _needed(checks)}


def _needed(checks: Iterable[AnyCheck]) -> set[_Needs]:
    found = {_Needs.of(check) for check in checks if isinstance(check, HttpCheck) and check.tls}
    return {needs for needs in found if needs.files}


def _age(name: str) -> int:
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0


@functools.cache
def _made(needs: _Needs) -> ssl.SSLContext | str:
    """Without `verify` any certificate will do, as in keepalived: that the server serves, not who it is.

    A text says what is wrong with the files.
    """
    try:
        if needs.verify:
            made = ssl.create_default_context(cafile=needs.authority or None)
        else:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
    except OSError as error:
        return f"certificates of {needs.authority} cannot be used: {_why(error)}; repair it and reload"
    shown = needs.shown
    if shown is None:
        return made
    try:
        # Always with a password: without one OpenSSL would ask for it at the terminal.
        made.load_cert_chain(shown.certificate, shown.key or None, shown.password)
    except (OSError, ValueError) as error:
        files = f"{shown.certificate} and {shown.key or shown.certificate}"
        return f"certificate and key of {files} cannot be used: {_why(error)}; repair it and reload"
    return made


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        said = error.reason.replace("_", " ").lower() if error.reason else ""
        return said or "no PEM file, or not this password"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
