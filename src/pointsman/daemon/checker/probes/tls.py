# SPDX-License-Identifier: Apache-2.0
"""TLS contexts of SSL_GET: client certificate and CA certificates.

Only root may be able to read their files, and the checker runs as nobody. So it loads them before it becomes
nobody, and is restarted when a reload finds that they have changed (`state`).
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
    """Parameters of a TLS context."""

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
    """Return the TLS context of a check. Raises ProbeUnableError if a file cannot be used."""
    built = _build(_Needs.of(check))
    if isinstance(built, str):
        raise ProbeUnableError(built)
    return built


def load(checks: Iterable[AnyCheck]) -> None:
    """Load the files of these checks. Errors are reported later, by the probes that need the file."""
    for needs in _needed(checks):
        _build(needs)


def state(checks: Iterable[AnyCheck]) -> object:
    """Return a value that differs from an earlier one if `load` must be called again."""
    return {needs: tuple(map(_modified, needs.files)) for needs in _needed(checks)}


def _needed(checks: Iterable[AnyCheck]) -> set[_Needs]:
    found = {_Needs.of(check) for check in checks if isinstance(check, HttpCheck) and check.tls}
    return {needs for needs in found if needs.files}


def _modified(name: str) -> int:
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0


@functools.cache
def _build(needs: _Needs) -> ssl.SSLContext | str:
    """Return the TLS context, or as text the error of its files.

    Without `verify` any certificate is accepted, as in keepalived.
    """
    try:
        if needs.verify:
            built = ssl.create_default_context(cafile=needs.authority or None)
        else:
            built = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            built.check_hostname = False
            built.verify_mode = ssl.CERT_NONE
    except OSError as error:
        return f"certificates of {needs.authority} cannot be used: {_reason(error)}; mend it and reload"
    shown = needs.shown
    if shown is None:
        return built
    try:
        # Without a password OpenSSL would ask for it at the terminal.
        built.load_cert_chain(shown.certificate, shown.key or None, shown.password)
    except (OSError, ValueError) as error:
        files = f"{shown.certificate} and {shown.key or shown.certificate}"
        return f"certificate and key of {files} cannot be used: {_reason(error)}; mend them and reload"
    return built


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        text = error.reason.replace("_", " ").lower() if error.reason else ""
        return text or "not a PEM file, or wrong password"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
