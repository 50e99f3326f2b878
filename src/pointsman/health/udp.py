# SPDX-License-Identifier: Apache-2.0
"""Compare the replies of UDP_CHECK."""

from __future__ import annotations

from pointsman.model.checks import UdpCheck


def judge_reply(check: UdpCheck, reply: bytes) -> str:
    """Return why a reply is wrong. Empty: it is right. The shorter length is compared (check_udp.c)."""
    if not check.min_reply_length <= len(reply) <= check.max_reply_length:
        return (
            f"a reply of {len(reply)} bytes instead of {check.min_reply_length} to {check.max_reply_length}"
        )
    for index, (got, wanted, mask) in enumerate(zip(reply, check.reply, check.reply_mask, strict=False)):
        if (got ^ wanted) & mask:
            return f"byte {index} of the reply is {got:02x} instead of {_digits(wanted, mask)}"
    return ""


def _digits(value: int, mask: int) -> str:
    """Return a byte in the form of the configuration, with x for bits that are not compared."""
    return "".join(f"{value >> shift & 15:x}" if mask >> shift & 15 else "x" for shift in (4, 0))
