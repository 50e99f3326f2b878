# SPDX-License-Identifier: Apache-2.0
"""Describe the steps of a plan, and the differences of a table that was changed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    EditServer,
    EditService,
    Operation,
)
from pointsman.model.service import ServiceTable


def step_texts(plan: Iterable[Operation], actual: ServiceTable) -> list[str]:
    """Return a line for each operation. An edit lists its changes: `service X: scheduler wlc -> rr`."""
    present = {entry.service.key: entry for entry in actual}
    texts = []
    for operation in plan:
        text = operation.text()
        match operation:
            case EditService(service) if service.key in present:
                text = f"service {service.key}: {_changes(present[service.key].service, service)}"
            case EditServer(key, server) if key in present:
                if (before := present[key].server(server.key)) is not None:
                    text = f"server {server.key} of {key}: {_changes(before, server)}"
        texts.append(text)
    return texts


def differences(plan: Sequence[Operation], actual: ServiceTable) -> Iterator[str]:
    """Yield the differences of the table from the wanted one. `plan` is the plan that would correct them."""
    missing = {operation.service.key for operation in plan if isinstance(operation, AddService)}
    for operation, text in zip(plan, step_texts(plan, actual), strict=True):
        match operation:
            case AddService(service):
                yield f"service {service.key} is missing"
            case AddServer(key, server) if key not in missing:
                yield f"real server {server.key} of {key} is missing"
            case DeleteServer(key, server_key):
                yield f"real server {server_key} of {key} is not configured"
            case EditService() | EditServer():
                yield f"not done: {text}"


def _changes(before: msgspec.Struct, after: msgspec.Struct) -> str:
    names = [name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)]
    return ", ".join(
        f"{name.replace('_', ' ')} {_text(getattr(before, name))} -> {_text(getattr(after, name))}"
        for name in names
    )


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return "+".join(sorted(value)) or "none"
    return "none" if value is None else str(getattr(value, "value", value))
