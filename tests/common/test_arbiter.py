"""Who may exchange next on a channel (contract 2): safe commands, commands, polls.

No turn is ever lost.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.errors import Overloaded
from busbar.link.arbiter import QUEUE_LIMIT, Arbiter, Priority, Turn, held
from busbar.testing.fakes import settle

SAFE, COMMAND, POLL = Priority


class Bench:
    """A channel with its users: who is on it, and in which order they came."""

    def __init__(self) -> None:
        self.arbiter = Arbiter()
        self.served: list[str] = []
        self.on: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.leave: dict[str, asyncio.Event] = {}

    def come(self, name: str, priority: Priority = COMMAND) -> None:
        self.leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._exchange(name, priority))

    def poll(self, name: str) -> None:
        self.leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._poll(name))

    async def go(self, name: str) -> None:
        self.leave[name].set()
        await self.tasks[name]
        await settle()

    async def _exchange(self, name: str, priority: Priority) -> None:
        await self.arbiter.acquire(priority)
        async with held(self.arbiter):
            await self._work(name)

    async def _poll(self, name: str) -> None:
        async with self.arbiter.poll():
            await self._work(name)

    async def _work(self, name: str) -> None:
        assert not self.on, f"{name} and {self.on} at once"
        self.served.append(name)
        self.on.add(name)
        try:
            await self.leave[name].wait()
        finally:
            self.on.remove(name)

    async def drain(self) -> list[str]:
        """Let everybody finish; return the order in which they had the channel."""
        for event in self.leave.values():
            event.set()
        for outcome in await asyncio.gather(
            *self.tasks.values(), return_exceptions=True
        ):
            if isinstance(outcome, Exception):
                raise outcome
        return self.served


async def queue(*names: str) -> Bench:
    """A bench where `first` has the channel and the others wait."""
    bench = Bench()
    bench.come("first")
    await settle()
    kinds = {"s": SAFE, "c": COMMAND, "p": POLL}
    for name in names:
        bench.come(name, kinds[name[0]])
        await settle()
    return bench


async def test_a_free_channel_is_taken_at_once():
    arbiter = Arbiter()
    await arbiter.acquire(POLL)
    assert arbiter.waiting == 0


async def test_commands_are_served_in_order_of_arrival_one_at_a_time():
    assert await (await queue("c1", "c2", "c3")).drain() == ["first", "c1", "c2", "c3"]


async def test_safe_commands_go_first_and_polls_last():
    bench = await queue("p1", "c1", "s1", "p2", "c2", "s2")
    assert await bench.drain() == ["first", "s1", "s2", "c1", "c2", "p1", "p2"]


async def test_who_comes_later_does_not_overtake_who_has_been_given_the_turn():
    bench = await queue("c1")
    bench.leave["first"].set()
    bench.come("s1", SAFE)
    assert await bench.drain() == ["first", "c1", "s1"]


async def test_a_channel_is_free_again_after_the_last():
    bench = await queue("c1")
    await bench.drain()
    await asyncio.wait_for(bench.arbiter.acquire(COMMAND), 1)


async def test_an_exchange_that_fails_gives_the_channel_back():
    arbiter = Arbiter()
    await arbiter.acquire(COMMAND)
    with pytest.raises(ValueError, match="broken"):
        async with held(arbiter):
            raise ValueError("broken")
    await asyncio.wait_for(arbiter.acquire(COMMAND), 1)


async def test_the_queue_is_bounded():
    bench = await queue(
        *(f"c{number}" for number in range(QUEUE_LIMIT - 1)), "s1", "p1"
    )
    assert bench.arbiter.waiting == QUEUE_LIMIT  # polls do not count
    for priority in (COMMAND, SAFE):
        with pytest.raises(Overloaded, match="100 commands wait"):
            await bench.arbiter.acquire(priority)
    await bench.go("first")
    bench.come("late")
    await settle()
    assert (await bench.drain())[-2:] == ["late", "p1"]


async def test_a_poll_waits_even_when_the_queue_is_full():
    bench = await queue(*(f"c{number}" for number in range(QUEUE_LIMIT)))
    bench.poll("p1")
    assert (await bench.drain())[-1] == "p1"


async def test_polls_do_not_run_while_they_are_paused():
    bench = Bench()
    bench.arbiter.pause_polls(True)
    bench.poll("p1")
    bench.come("c1")
    await settle()
    await bench.go("c1")
    assert bench.served == ["c1"]
    bench.arbiter.pause_polls(False)
    assert await bench.drain() == ["c1", "p1"]


async def test_a_poll_that_waits_already_does_not_run_after_the_pause():
    """A lease with `polls: false` is granted while a poll stands in the queue."""
    bench = await queue()
    bench.poll("p1")
    await settle()
    bench.arbiter.pause_polls(True)
    await bench.go("first")
    assert bench.served == ["first"]
    bench.come("c1")
    await settle()
    assert bench.served == ["first", "c1"]
    bench.arbiter.pause_polls(False)
    assert await bench.drain() == ["first", "c1", "p1"]


async def test_a_running_poll_ends_before_the_pause():
    bench = Bench()
    bench.poll("p1")
    await settle()
    bench.arbiter.pause_polls(True)
    assert bench.on == {"p1"}
    assert await bench.drain() == ["p1"]


async def test_who_is_cancelled_while_waiting_is_left_out():
    bench = await queue("c1", "c2")
    bench.tasks["c1"].cancel()
    await settle()
    assert bench.arbiter.waiting == 1
    assert await bench.drain() == ["first", "c2"]


async def test_who_is_cancelled_when_the_turn_comes_passes_it_on():
    bench = await queue("c1", "c2")
    bench.arbiter.release()  # the turn is given to c1, which has not run yet
    bench.tasks["c1"].cancel()
    bench.on.clear()
    await settle()
    assert bench.served == ["first", "c2"]
    with pytest.raises(asyncio.CancelledError):
        await bench.tasks["c1"]
    bench.tasks["first"].cancel()
    bench.on.add("first")
    await bench.drain()


async def test_who_is_cancelled_just_before_a_release_ends_as_cancelled():
    bench = await queue("c1", "c2")
    bench.tasks["c1"].cancel()
    bench.leave["first"].set()  # it releases before c1 has noticed
    await settle()
    assert bench.served == ["first", "c2"]
    with pytest.raises(asyncio.CancelledError):
        await bench.tasks["c1"]
    await bench.drain()


@pytest.mark.parametrize("rounds", range(4))
async def test_a_cancelled_wait_ends_as_cancelled_whenever_the_release_comes(rounds):
    arbiter = Arbiter()
    await arbiter.acquire(COMMAND)
    waiting = asyncio.create_task(arbiter.acquire(COMMAND))
    await settle()
    waiting.cancel()
    for _ in range(rounds):
        await asyncio.sleep(0)
    arbiter.release()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(arbiter.acquire(COMMAND), 1)


async def test_a_turn_lets_the_channel_go_early_and_only_once():
    """Contract 2: waiting for a later event does not hold the link."""
    bench = await queue("c1", "c2")
    reports: list[Any] = []
    async with held(bench.arbiter) as release:  # as if we were `first`
        bench.on.clear()
        turn = Turn(2.0, release, lambda *report: reports.append(report))
        turn.release()
        turn.release()
        await settle()
        assert bench.on == {"c1"}
    await settle()
    assert bench.on == {"c1"}  # leaving did not release once more
    assert not bench.tasks["c2"].done()
    bench.tasks["first"].cancel()
    turn.progress(0.5, "half")
    turn.progress(None)
    assert reports == [(0.5, "half"), (None, "")]
    assert turn.asked == 2.0


names = st.integers(0, 7)
events = st.one_of(
    st.tuples(st.just("come"), names, st.sampled_from(Priority)),
    st.tuples(st.just("poll"), names),
    st.tuples(st.just("leave"), names),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("pause"), st.booleans()),
    st.tuples(st.just("run"), st.integers(1, 4)),
)


@given(st.lists(events, max_size=40))
@settings(deadline=None)
async def test_no_turn_is_ever_lost(sequence):
    """Whoever comes, leaves or is cancelled at whatever moment.

    One at a time, and the channel is free at the end.
    """
    bench = Bench()
    for event in sequence:
        match event:
            case ("come", name, priority) if name not in bench.tasks:
                bench.come(name, priority)
            case ("poll", name) if name not in bench.tasks:
                bench.poll(name)
            case ("leave", name) if name in bench.leave:
                bench.leave[name].set()
            case ("cancel", name) if name in bench.tasks:
                bench.tasks[name].cancel()
            case ("pause", paused):
                bench.arbiter.pause_polls(paused)
            case ("run", rounds):
                for _ in range(rounds):
                    await asyncio.sleep(0)
    bench.arbiter.pause_polls(False)
    await asyncio.wait_for(bench.drain(), 5)
    for task in bench.tasks.values():
        assert task.cancelled() or task.exception() is None
    assert bench.arbiter.waiting == 0
    await asyncio.wait_for(bench.arbiter.acquire(POLL), 1)
