"""Locks with owner and end (contract 2).

Exclusive, first come first served, ended by the monotonic clock.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.errors import Locked
from busbar.link.locks import WAITERS_LIMIT, Lease, Locks, Scope
from busbar.testing.fakes import Clock, settle


def new_leases(changes: list[int] | None = None) -> Locks:
    return Locks(lambda: changes.append(1) if changes is not None else None)


async def lock(
    leases: Locks,
    device: str = "a",
    scope: Scope = "device",
    *,
    ttl: float = 10.0,
    wait: float = 0.0,
    owner: str = "me",
    polls: bool = True,
    token: str | None = None,
) -> Lease:
    return await leases.lock(device, owner, scope, ttl, polls, token, wait)


async def start(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    task = asyncio.create_task(work)
    await settle()
    return task


async def test_a_lock_keeps_others_out_and_lets_its_owner_in():
    leases = new_leases()
    lease = await lock(leases)
    assert leases.admits("a", lease.token)
    assert not leases.admits("a", None)
    assert not leases.admits("a", "guessed")
    leases.check("a", lease.token)
    with pytest.raises(Locked, match="locked by me for 10 s more"):
        leases.check("a", None)


async def test_a_refusal_says_who_and_how_long():
    clock, leases = Clock(), new_leases()
    await lock(leases, owner="bench 3")
    await clock.advance(4)
    with pytest.raises(Locked) as caught:
        await leases.admit("a", None, 0)
    assert caught.value.detail["owner"] == "bench 3"
    assert 5 < caught.value.detail["seconds"] <= 6


async def test_the_token_of_a_lease_is_not_told_to_others():
    leases = new_leases()
    lease = await lock(leases)
    with pytest.raises(Locked) as caught:
        leases.check("a", None)
    assert lease.token not in f"{caught.value.message} {caught.value.detail}"


async def test_a_device_lock_leaves_the_other_devices_alone():
    leases = new_leases()
    await lock(leases, "a")
    assert leases.admits("b", None)
    assert leases.on("b") is None
    await lock(leases, "b")


async def test_a_channel_lock_covers_all_devices():
    leases = new_leases()
    lease = await lock(leases, "a", "channel")
    assert not leases.admits("b", None)
    assert leases.admits("b", lease.token)
    assert leases.on("b") is lease


@pytest.mark.parametrize(
    ("scope", "other"),
    [("device", "channel"), ("channel", "device"), ("channel", "channel")],
)
async def test_a_channel_lock_conflicts_with_every_lock_on_the_channel(scope, other):
    leases = new_leases()
    await lock(leases, "a", scope)
    with pytest.raises(Locked):
        await lock(leases, "b", other)


async def test_a_second_lock_on_a_device_is_refused():
    leases = new_leases()
    await lock(leases)
    with pytest.raises(Locked, match="locked by me"):
        await lock(leases, owner="you")


async def test_a_lock_ends_by_itself():
    clock, leases = Clock(), new_leases()
    lease = await lock(leases, ttl=10)
    await clock.advance(9)
    assert leases.on("a") is lease
    assert 0 < leases.left(lease) <= 1
    await clock.advance(1.5)
    assert leases.on("a") is None
    assert leases.admits("a", None)
    assert leases.left(lease) == 0


async def test_the_wall_clock_does_not_end_a_lock():
    clock, leases = Clock(), new_leases()
    await lock(leases)
    clock.step_wall = 1e6
    await settle()
    assert leases.on("a") is not None


async def test_a_lease_is_renewed_by_its_token():
    clock, leases = Clock(), new_leases()
    first = await lock(leases, ttl=10, owner="me")
    await clock.advance(8)
    again = await lock(leases, ttl=10, token=first.token, owner="", polls=False)
    assert again.token == first.token
    assert again.owner == "me"
    assert leases.polls_paused
    await clock.advance(8)
    assert leases.on("a") is again
    await clock.advance(3)
    assert leases.on("a") is None


async def test_a_command_with_an_unknown_lease_is_refused_without_a_lock():
    clock, leases = Clock(), new_leases()
    ended, elsewhere = await lock(leases, "a", ttl=1), await lock(leases, "b")
    await clock.advance(2)
    for token in (ended.token, elsewhere.token, "guessed", ""):
        with pytest.raises(Locked, match="has ended or is not one of this device"):
            leases.check("a", token)
        with pytest.raises(Locked, match="has ended or is not one of this device"):
            await leases.admit("a", token, 60)
    leases.check("a", None)


async def test_what_follows_a_lease_happens_at_once_when_it_has_ended():
    clock, leases, done = Clock(), new_leases(), []
    lease = await lock(leases, "a", ttl=1)
    leases.when_ended(lease.token, "x", lambda: done.append("in time"))
    leases.when_ended(None, "x", lambda: done.append("never"))
    await clock.advance(2)
    leases.when_ended(lease.token, "y", lambda: done.append("late"))
    assert done == ["in time", "late"]


async def test_a_lease_that_has_ended_cannot_be_renewed():
    clock, leases = Clock(), new_leases()
    lease = await lock(leases, ttl=1)
    await clock.advance(2)
    with pytest.raises(Locked, match="has ended"):
        await lock(leases, token=lease.token)
    assert leases.on("a") is None


async def test_the_lease_of_another_device_cannot_be_renewed_here():
    leases = new_leases()
    lease = await lock(leases, "a")
    with pytest.raises(Locked, match="has ended"):
        await lock(leases, "b", token=lease.token)


async def test_unlock_ends_a_lease():
    leases = new_leases()
    lease = await lock(leases)
    leases.unlock("a", lease.token)
    assert leases.on("a") is None
    leases.unlock("a", lease.token)  # nothing is locked: fine


@pytest.mark.parametrize("token", [None, "guessed", ""])
async def test_a_stranger_cannot_unlock(token):
    leases = new_leases()
    lease = await lock(leases)
    with pytest.raises(Locked):
        leases.unlock("a", token)
    assert leases.on("a") is lease


async def test_a_lease_cannot_be_ended_through_another_device():
    leases = new_leases()
    lease = await lock(leases, "a")
    leases.unlock("b", lease.token)
    assert leases.on("a") is lease


async def test_a_channel_lease_can_be_ended_through_any_device():
    leases = new_leases()
    lease = await lock(leases, "a", "channel")
    leases.unlock("b", lease.token)
    assert leases.on("a") is None


async def test_the_timer_of_an_ended_lease_does_not_end_the_next_one():
    clock, leases = Clock(), new_leases()
    first = await lock(leases, ttl=10)
    leases.unlock("a", first.token)
    second = await lock(leases, ttl=20)
    await clock.advance(12)
    assert leases.on("a") is second


async def test_polls_are_paused_as_long_as_one_lease_says_so():
    clock, leases = Clock(), new_leases()
    await lock(leases, "a")
    assert not leases.polls_paused
    await lock(leases, "b", polls=False, ttl=5)
    assert leases.polls_paused
    await clock.advance(6)
    assert not leases.polls_paused


async def test_every_change_is_announced():
    changes: list[int] = []
    clock, leases = Clock(), new_leases(changes)
    lease = await lock(leases)
    await lock(leases, token=lease.token)
    assert len(changes) == 2
    await clock.advance(11)
    assert len(changes) == 3
    leases.unlock("a", lease.token)
    assert len(changes) == 3


# Waiting, outside the queue of the channel


async def test_a_command_waits_for_the_end_of_a_lock():
    clock, leases = Clock(), new_leases()
    await lock(leases, ttl=5)
    waiting = await start(leases.admit("a", None, 10))
    await clock.advance(4)
    assert not waiting.done()
    await clock.advance(2)
    await waiting


async def test_a_command_waits_no_longer_than_it_said():
    clock, leases = Clock(), new_leases()
    await lock(leases, ttl=60, owner="bench 3")
    waiting = await start(leases.admit("a", None, 5))
    await clock.advance(6)
    with pytest.raises(Locked, match="bench 3"):
        await waiting
    assert leases._waiters == []


async def test_a_lock_waits_and_then_lasts_its_full_time():
    clock, leases = Clock(), new_leases()
    await lock(leases, ttl=5)
    waiting = await start(lock(leases, ttl=10, wait=20, owner="you"))
    await clock.advance(6)
    lease = await waiting
    assert leases.on("a") is lease
    assert leases.left(lease) > 8


async def test_locks_that_wait_are_served_in_order_of_arrival():
    leases = new_leases()
    lease = await lock(leases)
    waiting = [
        await start(lock(leases, wait=100, owner=str(number))) for number in range(4)
    ]
    for task in waiting:
        leases.unlock("a", lease.token)
        lease = await asyncio.wait_for(task, 1)
        assert leases.on("a") is lease
        await settle()
    assert [task.result().owner for task in waiting] == ["0", "1", "2", "3"]


async def test_a_lock_that_waits_is_not_overtaken_by_one_that_does_not():
    leases = new_leases()
    lease = await lock(leases)
    waiting = await start(lock(leases, wait=100, owner="first"))
    leases.unlock("a", lease.token)
    with pytest.raises(Locked):
        await lock(leases, owner="late")
    assert (await waiting).owner == "first"


async def test_device_locks_do_not_starve_a_waiting_channel_lock():
    clock, leases = Clock(), new_leases()
    await lock(leases, "a", ttl=5)
    await lock(leases, "c", ttl=2)
    channel = await start(lock(leases, "a", "channel", wait=100, owner="channel"))
    with pytest.raises(Locked, match="others wait"):
        await lock(leases, "b")
    device = await start(lock(leases, "b", wait=100, owner="b"))
    await clock.advance(3)
    assert not device.done()  # c is free, but b came after the channel lock
    await clock.advance(3)
    lease = await channel
    assert not device.done()
    leases.unlock("a", lease.token)
    assert (await device).owner == "b"


async def test_device_locks_on_other_devices_do_not_wait_for_each_other():
    leases = new_leases()
    await lock(leases, "a")
    waiting = await start(lock(leases, "a", wait=100))
    assert (await lock(leases, "b")).device == "b"
    waiting.cancel()


async def test_who_waited_behind_a_lock_that_gave_up_is_served_at_once():
    clock, leases = Clock(), new_leases()
    await lock(leases, "a", ttl=60)
    channel = await start(lock(leases, "a", "channel", wait=2))
    device = await start(lock(leases, "b", wait=50))
    await clock.advance(3)
    with pytest.raises(Locked):
        await channel
    assert (await asyncio.wait_for(device, 1)).device == "b"


async def test_who_waited_behind_a_cancelled_lock_is_served_at_once():
    leases = new_leases()
    await lock(leases, "a")
    channel = await start(lock(leases, "a", "channel", wait=50))
    device = await start(lock(leases, "b", wait=50))
    channel.cancel()
    assert (await asyncio.wait_for(device, 1)).device == "b"


async def test_a_cancelled_waiter_leaves_the_line():
    leases = new_leases()
    lease = await lock(leases)
    gone = await start(lock(leases, wait=50, owner="gone"))
    stays = await start(lock(leases, wait=50, owner="stays"))
    gone.cancel()
    await settle()
    leases.unlock("a", lease.token)
    assert (await asyncio.wait_for(stays, 1)).owner == "stays"


async def test_a_lock_granted_to_somebody_who_is_cancelled_at_that_moment_is_ended():
    """Else nobody would know its token, for up to an hour."""
    leases = new_leases()
    lease = await lock(leases)
    gone = await start(lock(leases, wait=50, ttl=3600, owner="gone"))
    leases.unlock("a", lease.token)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert leases.on("a") is None


async def test_commands_that_wait_all_pass_together():
    leases = new_leases()
    lease = await lock(leases)
    waiting = [await start(leases.admit("a", None, 50)) for _ in range(3)]
    leases.unlock("a", lease.token)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_the_number_of_waiters_is_bounded():
    leases = new_leases()
    lease = await lock(leases)
    waiting = [
        asyncio.create_task(leases.admit("a", None, 50)) for _ in range(WAITERS_LIMIT)
    ]
    await settle()
    with pytest.raises(Locked):
        await leases.admit("a", None, 50)
    leases.unlock("a", lease.token)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


devices = st.sampled_from("abc")
scopes = st.sampled_from(["device", "channel"])
steps = st.one_of(
    st.tuples(
        st.just("lock"),
        devices,
        scopes,
        st.sampled_from([0.0, 3.0, 50.0]),
        st.sampled_from([2.0, 7.0]),
    ),
    st.tuples(st.just("admit"), devices, st.sampled_from([0.0, 3.0, 50.0])),
    st.tuples(st.just("unlock"), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 8)),
    st.tuples(st.just("time"), st.sampled_from([0.5, 3.0])),
    st.tuples(st.just("run"), st.integers(0, 3)),
)


def assert_exclusive(leases: Locks) -> None:
    held = list(leases._leases.values())
    channel = [lease for lease in held if lease.scope == "channel"]
    assert (
        len(held) == 1
        if channel
        else len({lease.device for lease in held}) == len(held)
    )


@given(st.lists(steps, max_size=25))
@settings(deadline=None)
async def test_locks_are_exclusive_and_everybody_is_answered(sequence):
    clock, leases = Clock(), new_leases()
    tasks: list[asyncio.Task[Any]] = []
    for step in sequence:
        match step:
            case ("lock", device, scope, wait, ttl):
                tasks.append(
                    asyncio.create_task(lock(leases, device, scope, ttl=ttl, wait=wait))
                )
            case ("admit", device, wait):
                tasks.append(asyncio.create_task(leases.admit(device, None, wait)))
            case ("unlock", number) if number < len(leases._leases):
                lease = list(leases._leases.values())[number]
                leases.unlock(lease.device, lease.token)
            case ("cancel", number) if number < len(tasks):
                tasks[number].cancel()
            case ("time", seconds):
                clock._loop.shift += seconds
            case ("run", rounds):
                for _ in range(rounds):
                    await asyncio.sleep(0)
        assert_exclusive(leases)
    for _ in range(len(tasks) + 1):
        await clock.advance(7)
        assert_exclusive(leases)
    for task in tasks:
        assert task.done()
        assert task.cancelled() or isinstance(task.exception(), Locked | None)
    assert leases._leases == {}
    assert leases._waiters == []
