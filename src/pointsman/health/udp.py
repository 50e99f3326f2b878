"""UDP_CHECK: which replies are those that are wanted."""

from __future__ import annotations

from pointsman.model.checks import UdpCheck


def trouble(check: UdpCheck, reply: bytes) -> str:
    """Why a reply is not what was asked for; empty: it is. Compared is the shorter length (check_udp.c)."""
    if not check.min_reply_length <= len(reply) <= check.max_reply_length:
        return (
            f"a reply of {len(reply)} bytes instead of {check.min_reply_length} to {check.max_reply_length}"
        )
    for index, (got, wanted, mask) in enumerate(zip(reply, check.reply, check.reply_mask, strict=False)):
        if (got ^ wanted) & mask:
            return f"byte {index} of the reply is {got:02x} instead of {_digits(wanted, mask)}"
    return ""


def _digits(value: int, mask: int) -> str:
    """A byte as the configuration writes it, x for what does not count."""
    return "".join(f"{value >> shift & 15:x}" if mask >> shift & 15 else "x" for shift in (4, 0))
