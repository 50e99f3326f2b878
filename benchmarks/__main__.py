# SPDX-License-Identifier: Apache-2.0
"""Run benchmarks: `python -m benchmarks [NAME]`. Each is a module with a function `main()`."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "conf",
    "connections",
    "control",
    "dataplane",
    "failover",
    "forwarding",
    "health",
    "http_reader",
    "netlink",
    "nftables",
    "removal",
)


def main(words: list[str]) -> int:
    wanted = words[0] if words else "all"
    if wanted not in (*NAMES, "all"):
        print(f"no benchmark {wanted}: use one of {', '.join(NAMES)}, all", file=sys.stderr)
        return 2
    for name in NAMES if wanted == "all" else (wanted,):
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
