# SPDX-License-Identifier: Apache-2.0
"""Check for a configuration without content. As a rule it is the wrong file, or not the whole file."""

from __future__ import annotations

from pointsman.conf.text.problems import Findings
from pointsman.model.config import Config

EMPTY = "the configuration has no virtual_server and no vrrp_instance"


def is_empty(config: Config) -> bool:
    """True if there is neither a virtual_server nor a vrrp_instance."""
    return not config.virtual_servers and not config.instances


def check_not_empty(config: Config, findings: Findings) -> None:
    """Warn of an empty configuration. It is only a warning, because ipvsadm can add services.

    With errors it says nothing: then the parts with errors were left out.
    """
    if is_empty(config) and not findings.has_errors:
        findings.warning(
            findings.start(),
            EMPTY,
            "a director would forward nothing; make sure that this is the right file, and the whole file",
        )
