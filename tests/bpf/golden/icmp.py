# SPDX-License-Identifier: Apache-2.0
"""The recorded cases of ICMP (golden 6), by what becomes of them."""

from __future__ import annotations

ANSWERED = [
    "SYN with TTL 0",
    "SYN to a service with no real servers",
    "SYN to a service with no real servers (again)",
    "UDP to a service with no real servers",
    "SYN to a service whose only server has weight 0",
]
TTL_OF_A_CONNECTION = "TTL 1 on a packet of an existing connection"
TOO_BIG = "route MTU to the real server 1000; TCP packet of 1200 with DF"
TOO_BIG_WITHOUT_DF = "same without DF"
ERRORS = [
    "ICMP frag-needed (3/4, mtu 1400), inner = RS reply VIP:80->client",
    "ICMP frag-needed with 548 bytes of inner",
    "ICMP port unreachable (3/3)",
    "ICMP host unreachable (3/1)",
    "ICMP source quench (4/0)",
    "ICMP frag-needed from another router 10.250.0.1",
    "ICMP frag-needed cut to 20+4 inner bytes",
]
ERROR_OF_UDP = "ICMP port unreachable for UDP connection"
ERRORS_TO_THE_STACK = [
    "ICMP redirect (5/1)",
    "ICMP parameter problem (12/0)",
    "ICMP frag-needed with wrong ICMP checksum",
    "ICMP frag-needed whose inner packet is client->VIP (forward direction)",
]
ERROR_WITH_TTL_1 = "ICMP frag-needed arriving with TTL 1"
ERROR_SCHEDULED = "schedule_icmp=1: ICMP frag-needed for a client port without connection"
FRAGMENTS = [
    "TCP SYN in two fragments: first fragment",
    "... second fragment",
    "UDP 2000 bytes, fragment 2 of 2",
    "UDP out-of-order: fragment 2 first",
    "... then fragment 1",
    "lone second fragment (never completed)",
    "three fragments 1/3",
    "2/3",
]
REPLAYED = [
    *ANSWERED, TTL_OF_A_CONNECTION, TOO_BIG, TOO_BIG_WITHOUT_DF, *ERRORS, ERROR_OF_UDP, *ERRORS_TO_THE_STACK,
    ERROR_WITH_TTL_1, ERROR_SCHEDULED, *FRAGMENTS,
]  # fmt: skip
