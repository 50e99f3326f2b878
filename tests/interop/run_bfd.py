# SPDX-License-Identifier: Apache-2.0
"""Runs the BFD process for a test: sessions pickled on stdin, channels as inherited descriptors."""

from __future__ import annotations

import logging
import pickle
import socket
import sys
from pathlib import Path

from pointsman.daemon.bfd.process import Channels, run

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    sessions = pickle.load(sys.stdin.buffer)
    director, vrrp, checker = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    sys.exit(run(sessions, Channels(director, vrrp, checker), Path(sys.argv[4])))
