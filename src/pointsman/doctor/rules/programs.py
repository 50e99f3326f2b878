# SPDX-License-Identifier: Apache-2.0
"""Rules for the programs of a real server: they listen at the VIP, and accept. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.doctor.facts import RealServerFacts, join_words
from pointsman.doctor.finding import Finding, fault, right, unknown, warning
from pointsman.model.address import Address, format_endpoint
from pointsman.model.wording import count


def listening(facts: RealServerFacts) -> Iterable[Finding]:
    """Yield whether a program listens at each VIP and port that the user gave, and accepts."""
    for vip in facts.vips:
        if not facts.ports.get(vip):
            yield unknown(
                "listening",
                f"no port was given for {vip}, so listening programs were not checked: pointsman doctor "
                f"{format_endpoint(vip, 0).removesuffix('0')}PORT",
            )
    for vip, ports in facts.ports.items():
        for port in ports:
            yield from _program(facts, vip, port)
    if facts.fresh_listen_overflows and not facts.full_listen_queues:
        yield warning(
            "listening",
            f"{count(facts.fresh_listen_overflows, 'connection')} found a full accept queue just now",
            "the program accepts too slowly; the clients repeat their SYN after a second, or give up",
            advice="ss -ltn shows the queues (Recv-Q): raise the program's backlog and net.core.somaxconn, "
            "or give it more workers",
        )


def _program(facts: RealServerFacts, vip: Address, port: int) -> Iterable[Finding]:
    anywhere = {str(vip), "0.0.0.0", "::"} if vip.version == 4 else {str(vip), "::"}
    if facts.host.redirects(vip):
        anywhere |= {str(held.ip) for card in facts.host.cards for held in card.addresses}
    bound = sorted(address for address, number in facts.listeners if number == port)
    target = format_endpoint(vip, port)
    if not anywhere & set(bound):
        only = f": only {join_words(bound)} is bound" if bound else ""
        yield fault(
            "listening",
            f"no program listens at {target}{only}",
            "requests arrive and are refused with RST",
            advice=f"let the program listen at {vip} or at every address (0.0.0.0), and start it",
        )
        return
    full = [each for each in facts.full_listen_queues if each.port == port and each.address in anywhere]
    if not full:
        yield right("listening", f"a program listens at {target}")
    for each in full:
        yield fault(
            "listening",
            f"the program that listens at {target} does not accept: {count(each.waiting, 'connection')} "
            f"waiting, room for {each.backlog}",
            "the kernel drops the SYNs of further clients without an answer",
            advice=f"see why it hangs, or start it again (its process: ss -ltnp sport = {port}); if it is "
            "only too slow, raise its backlog and net.core.somaxconn",
        )
