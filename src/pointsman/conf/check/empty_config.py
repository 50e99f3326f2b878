"""A configuration that asks for nothing: more often a file that was cut short than a wish."""

from __future__ import annotations

from pointsman.conf.text.problems import Findings
from pointsman.model.config import Config

EMPTY = "the configuration has no virtual_server and no vrrp_instance"


def is_empty(config: Config) -> bool:
    """Whether a director has nothing to do with it."""
    return not config.virtual_servers and not config.instances


def check_not_empty(config: Config, findings: Findings) -> None:
    """Say so, unless errors have taken out what there was; a director can still be filled with ipvsadm."""
    if is_empty(config) and not findings.has_errors:
        findings.warning(None, EMPTY, "a director would forward nothing; is this the right file, and whole?")
