"""Sends adverts that are wrong, as fast as it is told: `flooder SECONDS RATE < frames`; prints how many."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
import sys
import time

BURST = 0.002
"""Seconds between two bursts."""


def main() -> None:
    seconds, rate = float(sys.argv[1]), float(sys.argv[2])
    frames: list[bytes] = pickle.load(sys.stdin.buffer)
    with contextlib.suppress(OSError):  # real floods need no CPU time of this machine
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind(("eth0", 0))
    began, sent, turns = time.monotonic(), 0, itertools.cycle(frames)
    while (now := time.monotonic()) < began + seconds:
        while sent < (now - began) * rate:
            try:
                sender.send(next(turns))
            except OSError:
                break  # the queue is full
            sent += 1
        time.sleep(BURST)
    print(sent)


if __name__ == "__main__":
    main()
