"""DNS_CHECK: the question, and which datagrams answer it."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from pointsman.model.checks import DnsCheck


def question(check: DnsCheck, number: int) -> bytes:
    """A query with this number (0 to 65535), recursion desired."""
    query = dns.message.make_query(
        dns.name.from_text(check.name), dns.rdatatype.from_text(check.record), id=number
    )
    return query.to_wire()


def valid_name(name: str) -> bool:
    """Whether this can be asked for."""
    try:
        dns.name.from_text(name)
    except (dns.exception.DNSException, ValueError):
        return False
    return True


def verdict(number: int, data: bytes) -> str | None:
    """An error code's name, an empty text for success, or None: no answer to our question."""
    try:
        message = dns.message.from_wire(data, question_only=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    if message.id != number or not message.flags & dns.flags.QR:
        return None
    code = message.rcode()
    return "" if code == dns.rcode.NOERROR else dns.rcode.to_text(code)
