# SPDX-License-Identifier: Apache-2.0
"""The control socket, both sides for real: framing, rights, nonsense."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.serving import served

from pointsman.control import client_messages
from pointsman.control import server as control_server
from pointsman.control.client import DirectorNotRunning, replies, request
from pointsman.control.framing import MAX_MESSAGE
from pointsman.control.server import ControlServer
from pointsman.control.status import ConfigurationStatus, DataPlaneStatus, Status
from pointsman.model.service import ServiceTable
from pointsman.model.traffic import Counters

STATUS = Status(
    router_id="lb-01",
    uptime=1.5,
    data_plane=DataPlaneStatus(name="memory"),
    configuration=ConfigurationStatus(file=None, config_id=None, generation=1, seconds=1.0),
)


async def handler(asked: client_messages.Request, _uid: int) -> client_messages.Answer:
    if isinstance(asked, client_messages.TableRequest) and not asked.services:
        first, last = (
            client_messages.TableReply(ServiceTable(), Counters(), (1, 2, number), 4) for number in (3, 9)
        )
        return client_messages.encode(msgspec.structs.replace(first, more=True)), client_messages.encode(last)
    if isinstance(asked, client_messages.TableRequest):
        return client_messages.StatusReply(msgspec.structs.replace(STATUS, problems=("x" * (1 << 20),)))
    if isinstance(asked, client_messages.StatusRequest):
        return client_messages.StatusReply(STATUS)
    if isinstance(asked, client_messages.ReloadRefused):
        raise LookupError("a mistake")
    return client_messages.ApplyReply()


@pytest.fixture
def path() -> Iterator[Path]:
    """A served control socket, where other users can reach it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    where = folder / "control.sock"
    with served(ControlServer(where, handler)):
        yield where
    folder.rmdir()


def test_a_request_gets_its_reply(path: Path) -> None:
    reply = request(client_messages.StatusRequest(), path)
    assert isinstance(reply, client_messages.StatusReply) and reply.status == STATUS


@pytest.mark.parametrize("is_root", [True, False])
def test_a_reply_in_pages_is_as_many_messages(
    path: Path, is_root: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_server, "_may_change", lambda _: is_root)
    for _ in range(2):  # the second time it can be a reply that was kept
        found = list(replies(client_messages.TableRequest(services=False), path))
        assert [part.timeouts[2] for part in found if isinstance(part, client_messages.TableReply)] == [3, 9]


def test_nobody_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DirectorNotRunning, match="pointsman run"):
        request(client_messages.StatusRequest(), tmp_path / "control.sock")


def test_nonsense_gets_an_error_and_the_next_client_is_served(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(struct.pack("!I", 7) + b"{'no': 1"[:7])
        length = struct.unpack("!I", client.recv(4))[0]
        reply = client_messages.decode_reply(client.recv(length))
    assert isinstance(reply, client_messages.ErrorReply) and "does not understand this request" in reply.error
    assert isinstance(request(client_messages.StatusRequest(), path), client_messages.StatusReply)


def exchange(path: Path, *requests: bytes) -> list[client_messages.Reply]:
    """Send requests over one connection, and return the replies."""
    replies = []
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        for each in requests:
            client.sendall(struct.pack("!I", len(each)) + each)
            length = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))[0]
            replies.append(client_messages.decode_reply(client.recv(length, socket.MSG_WAITALL)))
    return replies


def test_nested_json_is_a_request_like_any_other_nonsense(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was a traceback in the log for each request: 6 MB in 5 s."""
    nested, asked = b"[" * 60_000, client_messages.encode(client_messages.StatusRequest())
    *errors, reply = exchange(path, nested, b'{"type":"StatusRequest","x":' + nested, asked)
    for error in errors:
        assert isinstance(error, client_messages.ErrorReply) and "does not understand" in error.error
    assert isinstance(reply, client_messages.StatusReply)
    assert caplog.messages == []


def test_a_mistake_in_the_director_is_one_line_in_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = client_messages.encode(client_messages.ReloadRefused(("x",)))
    for reply in exchange(path, *[asked] * 100):
        assert reply == client_messages.ErrorReply("the director failed: LookupError: a mistake")
    assert caplog.messages == ["ReloadRefused failed: LookupError: a mistake (logged once)"]


def test_a_length_beyond_the_bound_ends_the_connection(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(struct.pack("!I", MAX_MESSAGE + 1))
        assert client.recv(4) == b""


def test_a_client_that_is_still_there_at_the_stop_is_no_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        server = ControlServer(tmp_path / "control.sock", handler)
        await server.start()
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
        writer.write(struct.pack("!I", 20))
        while not server._clients:
            await asyncio.sleep(0)
        await server.close()

    asyncio.run(serve())
    assert caplog.messages == []


@pytest.mark.root
@pytest.mark.parametrize(
    "change", ["ApplyRequest(())", "SwitchoverRequest('')", "ReloadRequest(None, False)"]
)
def test_somebody_else_may_look_but_not_change(change: str, path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from pointsman.control import client_messages as m\n"
        "from pointsman.control.client import request; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "path = Path(sys.argv[1])\n"
        f"print(type(request(m.StatusRequest(), path)).__name__, request(m.{change}, path))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "StatusReply ErrorReply" in done.stdout, done.stderr
    assert "permission denied: only root may make changes" in done.stdout


HOSTILE = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
what, path = sys.argv[1:]
held = []
for _ in range(64):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.settimeout(60)
    held.append(client)
    try:
        if what == "deaf":
            request = b'{"type":"TableRequest"}'
            client.sendall(struct.pack("!I", len(request)) + request)
        else:
            client.sendall(struct.pack("!I", 1 << 20) + b"x" * (1 << 20))
    except OSError:
        pass
print("there", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
@pytest.mark.parametrize("what", ["deaf", "long"])
def test_another_user_cannot_take_the_place_of_root(path: Path, what: str) -> None:
    command = [sys.executable, "-c", HOSTILE, what, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hostile:
        assert hostile.stdout is not None and hostile.stdout.readline() == b"there\n"
        reply = request(client_messages.StatusRequest(), path)
        assert isinstance(reply, client_messages.StatusReply) and reply.status == STATUS


@pytest.mark.root
def test_a_client_that_does_not_take_its_answer_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_server, "WRITE_LIMIT", 0.2)
    asked = client_messages.encode(client_messages.TableRequest())
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(struct.pack("!I", len(asked)) + asked)
        poll = select.poll()
        poll.register(client, select.POLLHUP)
        assert poll.poll(10_000), "the director still waits for it"


@pytest.mark.root
def test_somebody_who_may_only_look_cannot_send_much(path: Path) -> None:
    script = (
        "import os, socket, struct, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1]); client.settimeout(60)\n"
        "client.sendall(struct.pack('!I', 65537)); print(client.recv(4))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.stdout == "b''\n", done.stderr
