"""When the machine says that nothing has come of an advert, nothing has: nobody need look at it again."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vrrp.machines import HIGHER, INSTANCE, LOWER, OWN, VIP, advert, backup

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


@given(
    story=st.lists(STEP, max_size=20),
    version=st.sampled_from([2, 3]),
    grouped=st.booleans(),
    residual=st.booleans(),
    nopreempt=st.booleans(),
    preempt_delay=st.sampled_from([0.0, 2.0]),
)
def test_what_is_quiet_changes_nothing_but_a_later_deadline(
    story: list[tuple[float, object, int, int, bool]],
    version: int,
    grouped: bool,
    residual: bool,
    nopreempt: bool,
    preempt_delay: float,
) -> None:
    settings = {"version": version, "nopreempt": nopreempt, "preempt_delay": preempt_delay}
    instance = msgspec.structs.replace(INSTANCE, addresses=(VIP,), **settings)
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
        if router.advert_received(now, source, advert(priority, interval)):  # type: ignore[arg-type]
            assert router.effects() == []
            assert (router.state, router.wants_master, router.holds_addresses) == before
            assert deadline is not None and router.deadline is not None and router.deadline >= deadline
        else:
            router.effects()


def test_a_backup_that_hears_its_master_again_and_again_is_quiet() -> None:
    router = backup()
    assert [router.advert_received(now, HIGHER, advert(200)) for now in (0.5, 1.5, 2.5)] == [True] * 3
    assert not router.advert_received(3.0, HIGHER, advert(0)), "the wait is shorter now"
