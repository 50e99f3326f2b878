"""The VRRP machine, state by state, with literal times."""

from __future__ import annotations

import ipaddress
import itertools

import msgspec
import pytest

from pointsman.model.vrrp import VirtualAddress, VrrpInstance, VrrpState
from pointsman.vrrp.admission import own_advert
from pointsman.vrrp.machine import GRACE, VrrpMachine
from pointsman.vrrp.transitions import (
    TRANSITIONS,
    Announce,
    Effect,
    Event,
    PriorityChanged,
    ReleaseAddresses,
    Residual,
    SendAdvert,
    StateChanged,
    TakeAddresses,
)
from pointsman.vrrp.wire import Advert

INIT, BACKUP, MASTER, FAULT = VrrpState.INIT, VrrpState.BACKUP, VrrpState.MASTER, VrrpState.FAULT
LOWER, OWN, HIGHER = (ipaddress.IPv4Address(f"10.9.0.{host}") for host in (1, 2, 3))
VIP = VirtualAddress(address=ipaddress.ip_address("10.9.0.100"), prefix_length=24, device="eth0")
INSTANCE = VrrpInstance(name="VI_1", interface="eth0", virtual_router_id=51, priority=128, addresses=(VIP,))
SKEW = 0.5
DOWN = 3.5
"""The master-down interval of priority 128 at one advert per second."""
BECOMING_MASTER: list[Effect] = [SendAdvert(128), TakeAddresses(), Announce(5)]


def machine(**changes: object) -> VrrpMachine:
    return VrrpMachine(msgspec.structs.replace(INSTANCE, **changes), OWN)


def advert(priority: int, interval: int = 100) -> Advert:
    return msgspec.structs.replace(own_advert(INSTANCE, priority), interval=interval)


def backup(now: float = 0.0, **changes: object) -> VrrpMachine:
    router = machine(**changes)
    router.start(now, link_up=True)
    router.effects()
    return router


def master(now: float = 0.0, **changes: object) -> VrrpMachine:
    """A master since `now`."""
    router = backup(now - 10, **changes)
    router.advance(now)
    assert router.state is MASTER
    router.effects()
    return router


# start


@pytest.mark.parametrize("initial", [MASTER, BACKUP])
def test_start_waits_for_the_master_down_interval_whatever_the_initial_state(initial: VrrpState) -> None:
    router = machine(initial_state=initial)
    router.start(100.0, link_up=True)
    assert router.effects() == [StateChanged(INIT, BACKUP, Event.START.value)]
    assert router.deadline == 100.0 + DOWN
    router.advance(103.49)
    assert router.effects() == []
    router.advance(103.5)
    assert router.effects() == [*BECOMING_MASTER, StateChanged(BACKUP, MASTER, Event.MASTER_DOWN.value)]


def test_the_address_owner_is_master_at_once() -> None:
    router = machine(priority=255)
    router.start(0.0, link_up=True)
    assert router.state is MASTER
    assert router.effects()[0] == SendAdvert(255)


def test_start_without_link_is_fault_until_the_link_comes() -> None:
    router = machine()
    router.start(0.0, link_up=False)
    assert (router.state, router.deadline) == (FAULT, None)
    router.interface_up(50.0)
    assert (router.state, router.deadline) == (BACKUP, 50.0 + DOWN)


# start after a crash


def test_a_killed_master_goes_on_at_once_without_touching_its_addresses() -> None:
    router = machine()
    router.start(10.0, link_up=True, residual=Residual(addresses=True, last_advert=7.0))
    assert router.effects() == [*BECOMING_MASTER, StateChanged(INIT, MASTER, Event.RESUME.value)]


@pytest.mark.parametrize(
    "residual",
    [
        Residual(addresses=True, last_advert=6.5),
        Residual(addresses=True, last_advert=10.1),
        Residual(addresses=True),
        Residual(addresses=False, last_advert=9.0),
    ],
    ids=["too long ago", "in the future", "was not master", "addresses gone"],
)
def test_whoever_may_have_been_replaced_begins_as_backup(residual: Residual) -> None:
    router = machine()
    router.start(10.0, link_up=True, residual=residual)
    assert router.state is BACKUP
    assert router.holds_addresses is residual.addresses
    assert ReleaseAddresses() not in router.effects()


def test_left_addresses_stay_until_another_master_is_heard() -> None:
    router = machine()
    router.start(0.0, link_up=True, residual=Residual(addresses=True))
    router.effects()
    router.advert_received(1.0, HIGHER, advert(0))
    assert router.effects() == []
    router.advert_received(1.1, HIGHER, advert(50))
    assert router.effects() == [ReleaseAddresses()]
    assert not router.holds_addresses


def test_left_addresses_are_removed_by_a_stop() -> None:
    router = machine()
    router.start(0.0, link_up=True, residual=Residual(addresses=True))
    router.effects()
    router.stop(1.0)
    assert router.effects()[0] == ReleaseAddresses()


# backup


def test_every_advert_of_a_master_restarts_the_wait() -> None:
    router = backup()
    for second in range(1, 100):
        router.advert_received(float(second), HIGHER, advert(200))
        router.advance(float(second))
    assert router.state is BACKUP
    assert router.deadline == 99.0 + DOWN


@pytest.mark.parametrize(("priority", "skew"), [(1, 255 / 256), (100, 156 / 256), (254, 2 / 256)])
def test_the_skew_lets_the_best_backup_be_first(priority: int, skew: float) -> None:
    router = backup(priority=priority)
    assert router.deadline == 3 + skew


def test_a_master_that_gives_up_is_followed_after_the_skew() -> None:
    router = backup()
    router.advert_received(1.0, HIGHER, advert(200))
    router.advert_received(1.5, HIGHER, advert(0))
    assert router.deadline == 1.5 + SKEW


def test_a_lower_master_is_replaced_when_the_running_wait_ends() -> None:
    router = backup()
    for second in (1.0, 2.0, 3.0):
        router.advert_received(second, LOWER, advert(100))
    assert router.deadline == DOWN
    router.advance(DOWN)
    assert router.state is MASTER


def test_a_backup_never_replaces_an_equal_master() -> None:
    router = backup()
    for second in range(1, 20):
        router.advert_received(float(second), LOWER, advert(128))
        router.advance(float(second))
    assert router.state is BACKUP


def test_nopreempt_leaves_a_lower_master_alone_until_it_is_silent() -> None:
    router = backup(nopreempt=True)
    for second in range(1, 20):
        router.advert_received(float(second), LOWER, advert(1))
        router.advance(float(second))
    assert router.state is BACKUP
    router.advance(19.0 + DOWN)
    assert router.state is MASTER


def test_preempt_delay_counts_from_the_first_lower_advert() -> None:
    router = backup(preempt_delay=10.0)
    for second in range(1, 11):
        router.advert_received(float(second), LOWER, advert(100))
    assert router.deadline == 10.0 + DOWN
    router.advert_received(11.0, LOWER, advert(100))
    router.advert_received(12.0, LOWER, advert(100))
    assert router.deadline == 10.0 + DOWN


def test_preempt_delay_begins_anew_after_a_higher_advert() -> None:
    router = backup(preempt_delay=2.0)
    router.advert_received(1.0, LOWER, advert(100))
    router.advert_received(2.0, HIGHER, advert(200))
    router.advert_received(4.0, LOWER, advert(100))
    assert router.deadline == 4.0 + DOWN


def test_version_3_learns_the_interval_of_its_master_and_forgets_it_as_master() -> None:
    router = backup(version=3, advert_interval=1.0)
    router.advert_received(0.5, HIGHER, advert(200, interval=10))
    assert router.deadline == pytest.approx(0.5 + 0.3 + 0.05)
    router.advance(1.0)
    assert router.state is MASTER
    assert router.deadline == 2.0


def test_link_down_in_backup_is_silent() -> None:
    router = backup()
    router.interface_down(1.0)
    assert router.effects() == [StateChanged(BACKUP, FAULT, "interface down")]
    assert router.deadline is None


# master


def test_a_master_advertises_once_per_interval_and_announces_again_after_five_seconds() -> None:
    router = master()
    sent: list[tuple[float, Effect]] = []
    while router.deadline is not None and router.deadline < 20:
        now = router.deadline
        router.advance(now)
        sent += [(now, effect) for effect in router.effects()]
    assert [time for time, effect in sent if effect == SendAdvert(128)] == [float(n) for n in range(1, 20)]
    assert [time for time, effect in sent if effect == Announce(5)] == [5.0]


def test_small_delays_do_not_add_up() -> None:
    router = master()
    for _ in range(100):
        assert router.deadline is not None
        router.advance(router.deadline + 0.003)
    assert router.deadline == 101.0


def test_after_a_stall_adverts_are_not_made_up_for() -> None:
    router = master(garp_master_delay=0.0)
    router.advance(60.0)
    assert router.effects() == [SendAdvert(128)]
    assert router.deadline == 61.0


def test_announcements_are_refreshed() -> None:
    router = master(garp_master_delay=0.0, garp_master_refresh=2.0, garp_master_refresh_repeat=3)
    router.advance(2.0)
    assert Announce(3) in router.effects()
    router.advance(3.0)
    assert Announce(3) not in router.effects()
    router.advance(4.0)
    assert Announce(3) in router.effects()


@pytest.mark.parametrize(("source", "priority"), [(HIGHER, 129), (LOWER, 129), (HIGHER, 128)])
def test_a_better_master_is_given_way_with_a_farewell(source: ipaddress.IPv4Address, priority: int) -> None:
    router = master()
    router.advert_received(0.3, source, advert(priority))
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(128),
        StateChanged(MASTER, BACKUP, Event.BETTER_ADVERT.value),
    ]
    assert router.deadline == 0.3 + DOWN


@pytest.mark.parametrize(("source", "priority"), [(LOWER, 128), (LOWER, 127), (HIGHER, 127)])
def test_a_worse_master_is_answered_with_advert_and_announcement(
    source: ipaddress.IPv4Address, priority: int
) -> None:
    router = master()
    router.advert_received(0.3, source, advert(priority))
    assert router.effects() == [SendAdvert(128), Announce(5)]
    assert router.state is MASTER
    router.advance(5.3)
    assert Announce(5) in router.effects()


def test_a_master_that_gives_up_is_answered_with_an_advert_at_once() -> None:
    router = master()
    router.advert_received(0.3, HIGHER, advert(0))
    assert router.effects() == [SendAdvert(128)]
    assert router.deadline == 1.3


def test_a_flood_of_foreign_adverts_makes_no_flood_of_ours() -> None:
    router = master(garp_master_delay=0.0)
    for count in range(50_000):
        now = count / 50_000
        router.advert_received(now, LOWER, advert(1))
        router.advance(now)
    assert router.effects().count(SendAdvert(128)) <= 3
    assert router.deadline is not None
    assert router.deadline <= 1.5


def test_stopping_says_priority_0_and_takes_the_addresses_away() -> None:
    router = master()
    router.stop(0.5)
    assert router.effects() == [
        SendAdvert(0),
        ReleaseAddresses(),
        StateChanged(MASTER, INIT, Event.STOP.value),
    ]
    assert router.deadline is None


def test_link_down_resigns_and_link_up_waits_again() -> None:
    router = master()
    router.interface_down(0.5)
    assert router.effects() == [
        SendAdvert(0),
        ReleaseAddresses(),
        StateChanged(MASTER, FAULT, "interface down"),
    ]
    router.advert_received(0.6, LOWER, advert(1))
    router.advance(100.0)
    assert router.effects() == []
    router.interface_up(100.0)
    assert router.deadline == 100.0 + DOWN


def test_lost_addresses_are_put_back_by_a_master_only() -> None:
    router = master()
    router.addresses_lost()
    assert router.effects() == [TakeAddresses(), Announce(5)]
    waiting = backup()
    waiting.addresses_lost()
    assert waiting.effects() == []


def test_the_winner_of_a_split_is_called_twice_more_in_case_the_farewell_was_lost() -> None:
    router = master()
    router.advert_received(0.5, HIGHER, advert(200))
    router.effects()
    sent = []
    for now in (0.6, 1.5, 1.6, 2.5, 3.5):
        router.advert_received(now, HIGHER, advert(200))
        sent.append(router.effects())
    assert sent == [[], [SendAdvert(1)], [], [SendAdvert(1)], []]


# handing over


def test_a_master_that_hands_over_serves_until_another_one_advertises_and_a_moment_longer() -> None:
    router = master()
    assert router.hand_over(0.5)
    assert router.effects() == [SendAdvert(0)]
    router.advance(1.1)
    router.advert_received(1.2, LOWER, advert(100))
    assert router.effects() == []
    assert router.deadline == pytest.approx(1.2 + GRACE)
    router.advance(1.2 + GRACE)
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(1),
        StateChanged(MASTER, BACKUP, Event.HANDED_OVER.value),
    ]


def test_whoever_was_asked_to_take_over_is_not_preempted_until_it_is_gone() -> None:
    router = master()
    router.hand_over(0.5)
    router.advert_received(1.0, LOWER, advert(100))
    for second in range(1, 20):
        router.advert_received(float(second), LOWER, advert(100))
        router.advance(second + 0.5)
    assert router.state is BACKUP
    router.advance(19.0 + DOWN)
    assert router.state is MASTER
    router.advert_received(23.0, LOWER, advert(100))
    assert router.state is MASTER, "asked once, not for ever"


def test_a_master_that_nobody_relieves_goes_on() -> None:
    router = master()
    router.hand_over(0.5)
    router.advance(1.5)
    router.effects()
    router.advance(1.75)
    assert router.effects() == [SendAdvert(128), Announce(5)]
    assert router.state is MASTER
    assert router.deadline == 2.75


@pytest.mark.parametrize(("relieved", "ends"), [(True, 0.6 + GRACE), (False, 1.75)])
def test_a_master_that_retires_waits_for_its_successor_but_not_for_ever(relieved: bool, ends: float) -> None:
    router = master()
    router.retire(0.5)
    assert router.effects() == [SendAdvert(0)]
    if relieved:
        router.advert_received(0.6, LOWER, advert(100))
    router.advance(ends - 0.01)
    assert (router.state, router.effects()) == (MASTER, [])
    router.advance(ends)
    assert router.effects() == [ReleaseAddresses(), StateChanged(MASTER, INIT, Event.RETIRED.value)]


def test_a_demoted_master_hands_over_at_once_to_a_rival_it_knows_to_be_better() -> None:
    router = backup(-10.0)
    router.advert_received(-8.0, LOWER, advert(100))  # a lower one that was master before it was preempted
    router.advance(0.0)
    router.effects()
    router.set_priority(0.5, 78)
    assert router.effects() == [PriorityChanged(78), SendAdvert(0)]
    router.advert_received(1.0, LOWER, advert(100))
    router.advance(1.0 + GRACE)
    assert router.state is BACKUP


@pytest.mark.parametrize("rival", [0, 50])
def test_a_demoted_master_that_knows_no_better_one_advertises_its_new_priority_at_once(rival: int) -> None:
    router = backup(-10.0)
    if rival:
        router.advert_received(-8.0, LOWER, advert(rival))
    router.advance(0.0)
    router.effects()
    router.set_priority(0.5, 78)
    assert router.effects() == [PriorityChanged(78), SendAdvert(78)]
    assert router.deadline == 1.5


def test_a_backup_takes_over_from_a_master_that_was_demoted_without_three_intervals_of_waiting() -> None:
    router = backup()
    router.advert_received(1.0, HIGHER, advert(200))
    router.advert_received(2.0, HIGHER, advert(100))
    assert router.deadline == 2.0 + SKEW
    router.advance(2.0 + SKEW)
    assert router.state is MASTER


def test_an_address_owner_is_never_demoted() -> None:
    router = machine(priority=255)
    router.start(0.0, link_up=True)
    router.set_priority(1.0, 100)
    assert router.priority == 255


def test_a_master_that_was_stalled_leaves_an_equal_successor_alone() -> None:
    router = master()
    router.advert_received(3.4, LOWER, advert(128))
    assert router.state is MASTER, "a healed split: the higher address stays"
    router = master()
    router.advert_received(20.0, LOWER, advert(128))
    assert router.effects() == [
        ReleaseAddresses(),
        SendAdvert(1),  # its own priority would take the mastership back
        StateChanged(MASTER, BACKUP, Event.OVERSLEPT.value),
    ]


# the knobs of keepalived


def test_down_timer_adverts_counts_the_adverts_to_miss() -> None:
    router = backup(down_timer_adverts=2)
    assert router.deadline == 2.0 + SKEW


def test_lower_prio_no_advert_is_silent_to_a_lower_priority_but_not_to_a_goodbye() -> None:
    router = master(lower_prio_no_advert=True)
    router.advert_received(0.2, LOWER, advert(100))
    assert router.effects() == []
    router.advert_received(0.3, LOWER, advert(0))
    assert router.effects() == [SendAdvert(128)]


def test_the_answer_to_a_lower_priority_has_its_own_bursts() -> None:
    router = master(garp_lower_prio_repeat=2, garp_lower_prio_delay=0.5)
    router.advert_received(0.2, LOWER, advert(100))
    assert router.effects() == [SendAdvert(128), Announce(2)]
    assert router.deadline == pytest.approx(0.7)


def test_the_startup_delay_is_added_to_the_first_wait_only() -> None:
    router = machine(startup_delay=10.0)
    router.start(0.0, link_up=True)
    assert router.deadline == 10.0 + DOWN
    router.advert_received(1.0, HIGHER, advert(200))
    assert router.deadline == 1.0 + DOWN


# the table


def provoke(router: VrrpMachine, event: Event) -> None:
    """Make this event happen, whatever the state is."""
    now = 100.0
    match event:
        case Event.START | Event.START_AS_OWNER:
            router.start(now, link_up=True)
        case Event.RESUME:
            router.start(now, link_up=True, residual=Residual(addresses=True, last_advert=now))
        case Event.START_WITHOUT_LINK:
            router.start(now, link_up=False)
        case Event.MASTER_DOWN:
            router.advance(now)
        case Event.BETTER_ADVERT:
            router.advert_received(now, HIGHER, advert(255))
        case Event.OVERSLEPT if router.state is MASTER:
            router.advert_received(now, LOWER, advert(router.priority))
        case Event.FAULT:
            router.interface_down(now)
        case Event.RECOVERY | Event.RECOVERY_AS_OWNER:
            router.interface_up(now)
        case Event.HANDED_OVER if router.hand_over(now):
            router.advert_received(now, LOWER, advert(1))
            router.advance(now + GRACE)
        case Event.GROUP_BACKUP:
            router.leave_with_group(now)
        case Event.RETIRED if router.state is MASTER:
            router.retire(now)
            router.advert_received(now, LOWER, advert(1))
            router.advance(now + GRACE)
        case Event.STOP:
            router.stop(now)


def in_state(state: VrrpState, priority: int) -> VrrpMachine:
    if state is INIT:
        return machine(priority=priority)
    if state is FAULT:
        router = machine(priority=priority)
        router.start(0.0, link_up=False)
    elif state is MASTER:
        router = master(priority=priority)
    else:
        router = backup(priority=priority)
    router.effects()
    return router


OF_AN_OWNER = (Event.START_AS_OWNER, Event.RECOVERY_AS_OWNER)
PAIRS = [
    (state, event)
    for state, event in itertools.product(VrrpState, Event)
    if not (state is BACKUP and event in OF_AN_OWNER)  # an address owner is never backup
]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_of_state_and_event(state: VrrpState, event: Event) -> None:
    router = in_state(state, 255 if event in OF_AN_OWNER else 128)
    provoke(router, event)
    expected, _ = TRANSITIONS.get((state, event), (state, ()))
    assert router.state is expected
    changes = [effect for effect in router.effects() if isinstance(effect, StateChanged)]
    if (state, event) in TRANSITIONS:
        reason = "interface down" if expected is FAULT else event.value
        assert changes == [StateChanged(state, expected, reason)]
    else:
        assert changes == []
    assert router.holds_addresses is (expected is MASTER)


def test_only_a_master_holds_timers_of_a_master() -> None:
    for (state, event), (following, _) in TRANSITIONS.items():
        router = in_state(state, 255 if event in OF_AN_OWNER else 128)
        provoke(router, event)
        assert (router.deadline is None) is (following in (INIT, FAULT))
