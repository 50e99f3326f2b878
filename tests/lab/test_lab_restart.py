# SPDX-License-Identifier: Apache-2.0
"""A connection that carries data does not notice that the director is killed and started again."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.support.tcp_info import retransmitted
from tests.support.until import DEADLINE

from pointsman.lab import waiting
from pointsman.lab.lab import Lab
from pointsman.lab.services import listens
from pointsman.lab.topologies import dual_homed

pytestmark = pytest.mark.root

PORT = 9000
SERVICE = f"{dual_homed.VIP}:{PORT}"
ECHO_SERVER = f"""
import socket
listener = socket.create_server(("", {PORT}))
while True:
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
"""


class Conversation(threading.Thread):
    """Sends a line every 10 ms and reads it back."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._ending = threading.Event()
        self.answers = 0
        self.trouble = ""

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                line = b"%d\n" % self.answers
                self._connection.sendall(line)
                said = b""
                while len(said) < len(line):
                    said += self._connection.recv(len(line) - len(said))
                assert said == line
                self.answers += 1
                time.sleep(0.01)
        except (OSError, AssertionError) as error:
            self.trouble = repr(error)

    def goes_on(self) -> bool:
        """True if another 20 answers come."""
        wanted = self.answers + 20
        waiting.until(lambda: self.answers >= wanted or self.trouble, DEADLINE, "the conversation goes on")
        return not self.trouble

    def end(self) -> None:
        self._ending.set()
        self.join(10)


@pytest.fixture(scope="module", params=["generic", "native", "tc"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab("dual-homed", prefix=f"pmt-restart-{os.getpid()}", xdp_mode=request.param) as made:
        server, director = made.node("server"), made.node("lvs")
        server.popen(["python3", "-c", ECHO_SERVER], log="echo")
        waiting.until(lambda: listens(server, PORT), DEADLINE, "the echo server listens")
        director.run(["pointsman", "ipvsadm", "-A", "-t", SERVICE, "-s", "rr"])
        director.run(
            ["pointsman", "ipvsadm", "-a", "-t", SERVICE, "-r", f"{dual_homed.REAL_SERVER}:{PORT}", "-g"]
        )
        yield made


def rows(listing: str) -> list[list[str]]:
    """Return the words of a listing's lines, without the first one, which has the size of the table."""
    return [line.split() for line in listing.splitlines()[1:]]


@pytest.mark.parametrize("options", [(), ("--connections", "5000"), ("--connections", "2000000")])
def test_data_flows_on_while_the_director_is_killed_and_started_again(
    lab: Lab, options: tuple[str, ...]
) -> None:
    """With a table of another size its connections are carried over to the new one."""
    director = lab.node("lvs")
    with lab.node("client").socket() as connection:
        connection.settimeout(DEADLINE)
        connection.connect((dual_homed.VIP, PORT))
        conversation = Conversation(connection)
        conversation.start()
        try:
            assert conversation.goes_on(), conversation.trouble
            before = director.run(["pointsman", "ipvsadm", "-Ln"]).stdout
            director.kill()
            assert conversation.goes_on(), conversation.trouble
            lab.start_director("lvs", *options)
            assert conversation.goes_on(), conversation.trouble
            after = director.run(["pointsman", "ipvsadm", "-Ln"]).stdout
            retransmissions = retransmitted(connection)
        finally:
            conversation.end()
    assert conversation.trouble == ""
    assert retransmissions == 0
    assert f"TCP  {SERVICE} rr" in before
    assert f"{dual_homed.REAL_SERVER}:{PORT}" in before
    assert rows(after) == rows(before), "services, real servers and ActiveConn are adopted"


def test_new_connections_are_served_while_no_director_runs(lab: Lab) -> None:
    director = lab.node("lvs")
    director.kill()
    with lab.node("client").socket() as connection:
        connection.settimeout(DEADLINE)
        connection.connect((dual_homed.VIP, PORT))
        connection.sendall(b"still there?")
        assert connection.recv(100) == b"still there?"
    lab.start_director("lvs")
