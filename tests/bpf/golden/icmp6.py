# SPDX-License-Identifier: Apache-2.0
"""The recorded cases of ICMPv6 (golden 6) that are replayed."""

from __future__ import annotations

ANSWERED = ["IPv6 hop limit 1", "IPv6 SYN, service without servers"]
ERROR = "ICMPv6 packet too big (mtu 1280) for the connection"
FRAGMENT = "IPv6 UDP fragment 2/2"
REPLAYED = [*ANSWERED, ERROR, FRAGMENT]
