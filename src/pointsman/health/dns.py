# SPDX-License-Identifier: Apache-2.0
"""Encode the query of DNS_CHECK, and judge the answers."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from pointsman.model.checks import DnsCheck


def build_query(check: DnsCheck, number: int) -> bytes:
    """Return a query with this number (0 to 65535), recursion desired."""
    query = dns.message.make_query(
        dns.name.from_text(check.name), dns.rdatatype.from_text(check.record), id=number
    )
    return query.to_wire()


def is_valid_name(name: str) -> bool:
    """True if a query for this name is possible."""
    try:
        dns.name.from_text(name)
    except (dns.exception.DNSException, ValueError):
        return False
    return True


def parse_answer(number: int, data: bytes) -> str | None:
    """Return the name of an error code, empty for success. None: the data is no answer to our query."""
    try:
        message = dns.message.from_wire(data, question_only=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    if message.id != number or not message.flags & dns.flags.QR:
        return None
    code = message.rcode()
    return "" if code == dns.rcode.NOERROR else dns.rcode.to_text(code)
