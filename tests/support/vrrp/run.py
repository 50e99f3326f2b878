# SPDX-License-Identifier: Apache-2.0
"""Run the VRRP process for a test: instances pickled on stdin, the channel as an inherited descriptor."""

from __future__ import annotations

import logging
import pickle
import socket
import sys
from pathlib import Path

from pointsman.daemon.vrrp.process import run

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    instances, static = pickle.load(sys.stdin.buffer)
    channel = socket.socket(fileno=int(sys.argv[1]))
    wait = "patient" in sys.argv
    sys.exit(
        run(
            *(instances, channel, Path(sys.argv[2])),
            wait_for_interfaces=wait,
            static=static,
            wait_for_table="without-table" in sys.argv,
        )
    )
