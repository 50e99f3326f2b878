# SPDX-License-Identifier: Apache-2.0
"""Plan the operations from the actual table to the desired one, and define the effect of each operation.

Start, reload, crash recovery and drift repair all use `reconcile`. `apply_operations` defines the meaning
of operations for all data planes. Its refusals are those of ip_vs_genl_set_cmd()
(net/netfilter/ipvs/ip_vs_ctl.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from pointsman.model.operations import (
    AddServer,
    AddService,
    DeleteServer,
    DeleteService,
    EditServer,
    EditService,
    Flush,
    Operation,
    Refusal,
    ZeroCounters,
)
from pointsman.model.service import (
    RealServer,
    ServiceEntry,
    ServiceKey,
    ServiceTable,
    VirtualService,
)

NOT_UNICAST = "Invalid operation.  Possibly wrong module version, address not unicast, ..."
"""ipvsadm's text for EINVAL. For a new real server its cause can only be the address."""


def reconcile(
    desired: ServiceTable, actual: ServiceTable, managed: Set[ServiceKey] | None = None
) -> list[Operation]:
    """Return the operations that turn `actual` into `desired`. Empty if they differ only in order.

    Real servers are added and raised before others are lowered and removed. So a service that has weight
    before and after has weight at each step. New services and real servers are added in the desired order.
    Others keep their place, as an edit in the kernel does, so the final order can differ from the desired
    one.

    `managed`: the services that may be deleted if they are not in `desired`. Others were added by hand and
    stay. None: all services. A service in `desired` is always managed.
    """
    present = _by_key(actual)
    wanted = _by_key(desired)
    operations: list[Operation] = []
    for key, entry in wanted.items():
        if key in present:
            operations += _change(entry, present[key])
        else:
            operations.append(AddService(entry.service))
            operations += [AddServer(key, server) for server in entry.servers]
    operations += [
        DeleteService(key) for key in present if key not in wanted and (managed is None or key in managed)
    ]
    return operations


def apply_operations(
    table: ServiceTable, operations: Sequence[Operation], schedulers: Set[str] | None = None
) -> tuple[ServiceTable, list[Refusal]]:
    """Return the table after `operations`, and the refused ones. A refused operation changes nothing.

    `schedulers`: the names that the data plane knows. None: any name.
    """
    entries = _by_key(table)
    refusals = [each for each in (apply_to(entries, one, schedulers) for one in operations) if each]
    return ServiceTable(tuple(entries.values())), refusals


def apply_to(
    entries: dict[ServiceKey, ServiceEntry], operation: Operation, schedulers: Set[str] | None = None
) -> Refusal | None:
    """Apply one operation to the entries of a table. Return its refusal; then nothing has changed."""
    try:
        _apply(entries, operation, schedulers)
    except _RefusedError as refused:
        return Refusal(operation, refused.reason, refused.detail)
    return None


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def _change(wanted: ServiceEntry, present: ServiceEntry) -> Iterator[Operation]:
    key = wanted.service.key
    if wanted.service != present.service:
        yield EditService(wanted.service)
    before = {server.key: server for server in present.servers}
    after = {server.key: server for server in wanted.servers}
    yield from (AddServer(key, server) for server in wanted.servers if server.key not in before)
    edits = [server for server in wanted.servers if before.get(server.key, server) != server]
    yield from (EditServer(key, server) for server in edits if server.weight >= before[server.key].weight)
    yield from (EditServer(key, server) for server in edits if server.weight < before[server.key].weight)
    yield from (DeleteServer(key, server.key) for server in present.servers if server.key not in after)


def _by_key(table: ServiceTable) -> dict[ServiceKey, ServiceEntry]:
    return {entry.service.key: entry for entry in table}


def _apply(
    entries: dict[ServiceKey, ServiceEntry], operation: Operation, schedulers: Set[str] | None
) -> None:
    """Apply one operation to `entries`, or raise _RefusedError and leave them unchanged."""
    match operation:
        case Flush():
            entries.clear()
        case DeleteService(key):
            if entries.pop(key, None) is None:
                raise _RefusedError("no-service")
        case ZeroCounters(key):
            if key is not None and key not in entries:
                raise _RefusedError("no-service")
        case AddService(service) | EditService(service):
            _put_service(entries, service, isinstance(operation, AddService), schedulers)
        case AddServer(key, _) | EditServer(key, _) | DeleteServer(key, _):
            if key not in entries:
                raise _RefusedError("no-service")
            changed = _change_servers(entries[key].servers, operation)
            entries[key] = ServiceEntry(entries[key].service, changed)


def _put_service(
    entries: dict[ServiceKey, ServiceEntry], service: VirtualService, new: bool, schedulers: Set[str] | None
) -> None:
    present = entries.get(service.key)
    if new and present is not None:
        raise _RefusedError("exists")
    if not new and present is None:
        raise _RefusedError("no-service")
    if schedulers is not None and service.scheduler not in schedulers:
        raise _RefusedError("no-scheduler")
    entries[service.key] = ServiceEntry(service, present.servers if present else ())


def _change_servers(
    servers: tuple[RealServer, ...], operation: AddServer | EditServer | DeleteServer
) -> tuple[RealServer, ...]:
    if isinstance(operation, DeleteServer):
        left = tuple(server for server in servers if server.key != operation.server)
        if len(left) == len(servers):
            raise _RefusedError("no-server")
        return left
    new = operation.server
    if new.lower_threshold > new.upper_threshold:
        raise _RefusedError("system", "Numerical result out of range")
    known = any(server.key == new.key for server in servers)
    if isinstance(operation, AddServer):
        if known:
            raise _RefusedError("server-exists")
        if new.key.address.is_multicast or new.key.address.is_unspecified:
            raise _RefusedError("system", NOT_UNICAST)
        return (*servers, new)
    if not known:
        raise _RefusedError("no-server")
    return tuple(new if server.key == new.key else server for server in servers)
