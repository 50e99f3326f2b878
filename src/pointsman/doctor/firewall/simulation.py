# SPDX-License-Identifier: Apache-2.0
"""Send a packet through the chains of a firewall in thought. Pure.

The chains of a hook are called by priority. A packet that one of them accepts goes on to the next. A rule
whose matches cannot be evaluated splits the packet: one goes on as if the rule did not match, the other as if
it did.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import msgspec

from pointsman.doctor.firewall.chain import Action, Chain, Rule, Ruleset
from pointsman.doctor.firewall.packet import Packet, Truth, all_of

INWARDS = ("ingress", "prerouting", "input")
OUTWARDS = ("output", "postrouting", "egress")
_FAMILIES = {4: ("ip", "inet", "netdev", "bridge"), 6: ("ip6", "inet", "netdev", "bridge"), 0: ("arp",)}
_DEEPEST = 16
"""Most jumps into each other that the kernel allows (NFT_JUMP_STACK_SIZE)."""
_MOST_STEPS = 200_000
"""Most rules that are looked at for one packet. The rest of the way is not decided."""


class Fate(enum.Enum):
    """End of a packet's way through the firewall."""

    PASSES = "passes"
    DROPPED = "dropped"
    UNDECIDED = "undecided"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Verdict about a packet, with the place that decides, or that cannot be decided."""

    fate: Fate
    chain: Chain | None = None
    rule: Rule | None = None
    """None: the policy of the chain."""
    base: Chain | None = None
    """Base chain by which a dropped packet came to the chain."""

    @property
    def place(self) -> str:
        """Return the place in words."""
        return f"{f'rule {self.rule.name}' if self.rule else 'the policy'} of {self.chain}"


class _Doubt(msgspec.Struct, frozen=True):
    """The first rule on a packet's way that may or may not have matched."""

    truth: Truth
    chain: Chain
    rule: Rule | None


class _State(msgspec.Struct, frozen=True):
    """A packet on its way. `doubt` None: it comes here for certain, if no doubtful rule matches."""

    packet: Packet
    doubt: _Doubt | None = None


class _Drop(msgspec.Struct, frozen=True):
    doubt: _Doubt | None
    base: Chain
    chain: Chain
    rule: Rule | None


def judge(ruleset: Ruleset, packet: Packet) -> Judgement:
    """Return what the firewall does with a packet that arrives at this host, or leaves it."""
    walk = _Walk(ruleset)
    states = [_State(packet)]
    for hook in INWARDS if packet.inwards else OUTWARDS:
        for chain in _called(ruleset, hook, packet):
            states = walk.through(chain, states)
    return _sum_up(states, walk.drops)


def _sum_up(states: list[_State], drops: list[_Drop]) -> Judgement:
    """Return the verdict.

    A rule for some packets only, such as a list of blocked clients, does not make the verdict `passes`
    doubtful. It does make `dropped` doubtful: the firewall may be meant for named clients.
    """
    sure = next((drop for drop in drops if drop.doubt is None), None)
    if sure is not None:
        passing = next((state.doubt for state in states if state.doubt is not None), None)
        if passing is not None:
            return Judgement(fate=Fate.UNDECIDED, chain=passing.chain, rule=passing.rule)
        return Judgement(fate=Fate.DROPPED, chain=sure.chain, rule=sure.rule, base=sure.base)
    unclear = next((drop.doubt for drop in drops if drop.doubt and drop.doubt.truth is Truth.UNKNOWN), None)
    if unclear is not None:
        return Judgement(fate=Fate.UNDECIDED, chain=unclear.chain, rule=unclear.rule)
    return Judgement(fate=Fate.PASSES)


def _called(ruleset: Ruleset, hook: str, packet: Packet) -> list[Chain]:
    """Return the base chains that the kernel calls at a hook, in its order."""
    cards = packet.inwards or packet.outwards
    return sorted(
        (
            chain
            for chain in ruleset
            if chain.hook == hook
            and chain.family in _FAMILIES[packet.version]
            and (not chain.device or chain.device in cards)
        ),
        key=lambda chain: chain.priority,
    )


class _Walk:
    """The way of one packet, and where a part of it was dropped."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._chains: Mapping[tuple[str, str, str, str], Chain] = {
            (chain.tool, chain.family, chain.table, chain.name): chain for chain in ruleset
        }
        self._left = _MOST_STEPS
        self._base: Chain
        self.drops: list[_Drop] = []

    def through(self, base: Chain, states: Iterable[_State]) -> list[_State]:
        """Return the states that a base chain lets pass."""
        self._base = base
        entering: list[_State] = []
        passing: list[_State] = []
        for state in states:
            skipped = base.nat and state.packet.state != "new"
            (passing if skipped else entering).append(self._entered(base, state))
            if not skipped and _may_be_skipped(base):
                passing.append(state)
        ended, fell = self._chain(base, entering, 0)
        if not base.accepts:
            self.drops += [_Drop(state.doubt, base, base, None) for state in fell]
            fell = []
        return _distinct([*passing, *ended, *fell])

    @staticmethod
    def _entered(base: Chain, state: _State) -> _State:
        if state.doubt is None and _may_be_skipped(base):
            return _State(state.packet, _Doubt(Truth.UNKNOWN, base, None))
        return state

    def _chain(self, chain: Chain, states: list[_State], depth: int) -> tuple[list[_State], list[_State]]:
        """Return the states that the chain accepts, and those that return from it."""
        accepted: list[_State] = []
        returned: list[_State] = []
        for rule in chain.rules:
            here, states = states, []
            for state in here:
                self._left -= 1
                truth = all_of(state.packet.evaluate(match) for match in rule.matches)
                doubtful = _State(state.packet, state.doubt or _Doubt(truth, chain, rule))
                if truth is not Truth.YES:
                    states.append(doubtful if truth is Truth.MOSTLY else state)
                if truth is not Truth.NO:
                    taken = state if truth in (Truth.YES, Truth.MOSTLY) else doubtful
                    self._carry_out(chain, rule, taken, depth, accepted, returned, states)
            states = _distinct(states)
            if not states:
                break
            if self._left <= 0:
                doubt = _Doubt(Truth.UNKNOWN, chain, rule)
                self.drops.append(_Drop(doubt, self._base, chain, rule))
                return [*accepted, *(_State(state.packet, doubt) for state in states)], returned
        return accepted, _distinct([*states, *returned])

    def _carry_out(
        self,
        chain: Chain,
        rule: Rule,
        state: _State,
        depth: int,
        accepted: list[_State],
        returned: list[_State],
        going_on: list[_State],
    ) -> None:
        """Carry out the steps of a rule, and put the state where it goes."""
        packet = state.packet
        for action, target in rule.steps:
            state = msgspec.structs.replace(state, packet=packet)
            if action in (Action.DROP, Action.REJECT):
                self.drops.append(_Drop(state.doubt, self._base, chain, rule))
                return
            if action in (Action.JUMP, Action.GOTO):
                called = self._chains.get((chain.tool, chain.family, chain.table, target))
                if called is not None and depth < _DEEPEST:
                    ended, back = self._chain(called, [state], depth + 1)
                    accepted += ended
                    (going_on if action is Action.JUMP else returned).extend(back)
                    return
                action = Action.OTHER
            if action is Action.OTHER:
                doubtful = _State(packet, state.doubt or _Doubt(Truth.UNKNOWN, chain, rule))
                self.drops.append(_Drop(doubtful.doubt, self._base, chain, rule))
                accepted.append(doubtful)
                return
            if action is Action.ACCEPT:
                accepted.append(state)
                return
            if action is Action.RETURN:
                returned.append(state)
                return
            if action is Action.REDIRECT:
                accepted.append(_State(packet.redirect(int(target or 0)), state.doubt))
                return
            if action is Action.NOTRACK:
                packet = msgspec.structs.replace(packet, state="untracked")
            elif action is Action.MARK:
                packet = msgspec.structs.replace(packet, mark=int(target) if target else None)
        going_on.append(msgspec.structs.replace(state, packet=packet))


def _may_be_skipped(base: Chain) -> bool:
    """True if the doctor does not know that the packet passes through a base chain: one of a bridge, or of an
    interface that is not printed.
    """
    return base.family == "bridge" or (base.hook in ("ingress", "egress") and not base.device)


def _distinct(states: Iterable[_State]) -> list[_State]:
    """Keep one state of each packet for certain, and one for each kind of doubt."""
    kept: dict[tuple[Packet, Truth | None], _State] = {}
    for state in states:
        kept.setdefault((state.packet, state.doubt.truth if state.doubt else None), state)
    return list(kept.values())
