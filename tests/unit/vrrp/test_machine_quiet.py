# SPDX-License-Identifier: Apache-2.0
"""Adverts that the machine reports as without effect: its state is unchanged."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vrrp.machines import DOWN, HIGHER, INSTANCE, LOWER, OWN, VIP, advert, backup

from pointsman.model.vrrp import VrrpInstance
from pointsman.vrrp.groups import SyncGroup
from pointsman.vrrp.machine import VrrpMachine
from pointsman.vrrp.transitions import Residual

STEP = st.tuples(
    st.floats(0.0, 5.0),
    st.sampled_from([LOWER, HIGHER]),
    st.sampled_from([0, 1, 100, 128, 200]),
    st.sampled_from([1, 100, 400]),
    st.booleans(),
)
INSTANCES = st.fixed_dictionaries(
    {
        "version": st.sampled_from([2, 3]),
        "nopreempt": st.booleans(),
        "preempt_delay": st.sampled_from([0.0, 2.0]),
    }
).map(lambda settings: msgspec.structs.replace(INSTANCE, addresses=(VIP,), **settings))


@given(
    story=st.lists(STEP, max_size=20),
    instance=INSTANCES,
    grouped=st.booleans(),
    residual=st.booleans(),
)
def test_what_is_quiet_changes_nothing_but_a_later_deadline(
    story: list[tuple[float, object, int, int, bool]],
    instance: VrrpInstance,
    grouped: bool,
    residual: bool,
) -> None:
    router = VrrpMachine(instance, OWN)
    if grouped:
        SyncGroup("VG", [router, VrrpMachine(instance, OWN)])
    router.start(0.0, True, Residual(addresses=residual))
    router.effects()
    now = 0.0
    for pause, source, priority, interval, timers in story:
        now += pause
        if timers:
            router.advance(now)
            router.effects()
        before = (router.state, router.wants_master, router.holds_addresses)
        deadline = router.deadline
        if router.on_advert(now, source, advert(priority, interval)):  # type: ignore[arg-type]
            assert router.effects() == []
            assert (router.state, router.wants_master, router.holds_addresses) == before
            assert deadline is not None and router.deadline is not None and router.deadline >= deadline
        else:
            router.effects()


@given(
    story=st.lists(st.tuples(STEP, st.integers(0, 3), st.sampled_from([0, 1, 2])), max_size=20),
    instance=INSTANCES,
    grouped=st.booleans(),
    residual=st.booleans(),
)
def test_what_was_heard_again_is_as_if_it_had_been_received(
    story: list[tuple[tuple[float, object, int, int, bool], int, int]],
    instance: VrrpInstance,
    grouped: bool,
    residual: bool,
) -> None:
    """Two machines live the same story; one takes repeated adverts the quick way, whenever it may."""
    quick, thorough = VrrpMachine(instance, OWN), VrrpMachine(instance, OWN)
    for router in (quick, thorough):
        router.grouped = grouped
        router.start(0.0, True, Residual(addresses=residual))
    now = 0.0
    for (pause, source, priority, interval, timers), again, other in story:
        now += pause
        said = advert(priority, interval)
        for router in (quick, thorough):
            if timers:
                router.advance(now)
            if other == 1:
                router.set_priority(now, 200 if router.priority == 128 else 128)
            elif other == 2:
                router.reconfigure(now, msgspec.structs.replace(instance, advert_interval=2.0), OWN)
            router.on_advert(now, source, said)  # type: ignore[arg-type]
        for step in range(again):
            at = now + step / 8
            if not quick.on_repeated_advert(at):
                quick.on_advert(at, source, said)  # type: ignore[arg-type]
            thorough.on_advert(at, source, said)  # type: ignore[arg-type]
        assert quick.deadline == thorough.deadline
        assert quick.effects() == thorough.effects()
        assert _inside(quick) == _inside(thorough)


def _inside(router: VrrpMachine) -> dict[str, object]:
    """All that a machine is, with what its parts are."""
    ours = "pointsman.vrrp."
    parts = {
        name: vars(part)
        for name, part in vars(router).items()
        if type(part).__module__.startswith(ours) and hasattr(part, "__dict__")
    }
    return {**vars(router), **parts}


def test_a_backup_takes_its_masters_adverts_the_quick_way() -> None:
    router = backup()
    assert not router.on_repeated_advert(0.1), "nothing has been heard"
    router.on_advert(0.5, HIGHER, advert(200))
    assert router.on_repeated_advert(1.5)
    assert router.deadline == 1.5 + DOWN
    assert not router.on_repeated_advert(1.4), "a clock that was set back: the agenda would not hear of it"
    router.advance(1.5 + DOWN)
    assert not router.on_repeated_advert(5.0)


def test_a_backup_that_hears_its_master_again_and_again_is_quiet() -> None:
    router = backup()
    assert [router.on_advert(now, HIGHER, advert(200)) for now in (0.5, 1.5, 2.5)] == [True] * 3
    assert not router.on_advert(3.0, HIGHER, advert(0)), "the wait is shorter now"
