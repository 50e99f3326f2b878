# SPDX-License-Identifier: Apache-2.0
"""Load a configuration: from text to a Config, or to a ConfError with all problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pointsman.conf.build.auth import KeyFiles
from pointsman.conf.build.config import build_config
from pointsman.conf.check.semantics import check_config
from pointsman.conf.text.problems import ConfError, Findings, Problem, TooManyProblemsError
from pointsman.conf.text.reading import Preprocessor
from pointsman.conf.text.source import FileReader, Sources, TextReader
from pointsman.conf.text.tree import parse_tree
from pointsman.model.config import Config


class Loaded(NamedTuple):
    """A configuration without errors, and its warnings and notes."""

    config: Config
    problems: tuple[Problem, ...]
    """Warnings and notes, in the order of the lines."""


ExtraCheck = Callable[[Config, Findings], None]
"""A check that needs to know more than the text, such as the host's interfaces."""


def load(
    reader: FileReader,
    name: str,
    host_name: str = "localhost",
    config_id: str | None = None,
    more: Iterable[ExtraCheck] = (),
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the file `name` and what it includes.

    `host_name` is the default of router_id. Its first label is the default of `config_id`, which selects the
    lines that begin with `@`. `${_ENV NAME}` reads `environment`. The checks in `more` run last.

    Raises ConfError with all problems if one of them is an error. Raises nothing else, whatever the text is.
    No check runs while braces do not match, because most findings would only be consequences.
    """
    sources: Sources = {}
    findings = Findings(sources)
    identity = host_name.partition(".")[0] if config_id is None else config_id
    reading = Preprocessor(reader, findings, sources, identity, host_name, environment)
    config: Config | None = None
    try:
        nodes = parse_tree(reading.lines(name), findings)
        config = build_config(nodes, host_name, findings, KeyFiles(reader))
        if not findings.is_unbalanced:
            check_config(config, findings)
            for each in more:
                each(config, findings)
    except TooManyProblemsError:
        config = None
    problems = findings.problems()
    if config is None or findings.has_errors:
        raise ConfError(problems)
    return Loaded(config, problems)


def load_text(
    text: str | bytes,
    name: str = "keepalived.conf",
    host_name: str = "localhost",
    config_id: str | None = None,
) -> Loaded:
    """Load a text in memory that has no includes. Raises ConfError."""
    return load(TextReader({name: text}), name, host_name, config_id)
