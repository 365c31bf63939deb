"""The same command is not run twice (contract 2, `_id`)."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct

from busbar.command.idempotency import (
    BYTES_LIMIT,
    COUNT_LIMIT,
    MEMORY,
    Key,
    RememberedOutcomes,
)
from busbar.contract import messages
from busbar.contract.messages import Reply, ReplyError
from busbar.errors import Duplicate
from busbar.testing.fakes import Clock

MIB = 1024 * 1024


class Volts(Struct):
    volts: float


def key(id_: str = "abcdefgh", device: str = "psu", target: str = "set/voltage") -> Key:
    return device, target, id_


def reply(result: Any = None, *, ok: bool = True) -> Reply:
    error = UNSET if ok else ReplyError("device", "no", False, {})
    return Reply(
        "lab",
        "psu",
        "abcdefgh",
        "set/voltage",
        ok,
        1.0,
        0.1,
        result if ok else UNSET,
        error,
    )


def new_outcomes() -> RememberedOutcomes:
    return RememberedOutcomes(asyncio.get_running_loop().time)


def run(
    outcomes: RememberedOutcomes, which: Key, result: Any = None, arguments: Any = 5
) -> None:
    assert outcomes.begin(which, arguments) is None
    outcomes.finish(which, reply(result), keep=True)


def kept(outcomes: RememberedOutcomes, which: Key, arguments: Any = 5) -> bool:
    return outcomes.begin(which, arguments) is not None


async def test_a_new_command_is_to_be_run():
    assert new_outcomes().begin(key(), 5) is None


async def test_the_same_command_has_the_same_outcome():
    outcomes = new_outcomes()
    run(outcomes, key(), {"a": 1})
    again = outcomes.begin(key(), 5)
    assert again is not None
    assert again.result() == reply({"a": 1})


async def test_the_same_command_waits_for_the_outcome_of_the_one_that_runs():
    outcomes = new_outcomes()
    assert outcomes.begin(key(), 5) is None
    second, third = outcomes.begin(key(), 5), outcomes.begin(key(), 5)
    assert second is not None
    assert third is not None
    assert not second.done()
    outcomes.finish(key(), reply("done"), keep=True)
    assert (await second, await third) == (reply("done"), reply("done"))


async def test_a_failure_is_an_outcome_too():
    outcomes = new_outcomes()
    assert outcomes.begin(key(), 5) is None
    outcomes.finish(key(), reply(ok=False), keep=True)
    again = outcomes.begin(key(), 5)
    assert again is not None
    assert again.result().ok is False


@pytest.mark.parametrize("arguments", [6, 5.5, "5", None, {"volts": 5}, [5]])
@pytest.mark.parametrize("finished", [True, False])
async def test_other_arguments_with_the_same_id_are_a_duplicate(arguments, finished):
    outcomes = new_outcomes()
    assert outcomes.begin(key(), 5) is None
    if finished:
        outcomes.finish(key(), reply(), keep=True)
    with pytest.raises(Duplicate, match="'abcdefgh'"):
        outcomes.begin(key(), arguments)


async def test_arguments_are_compared_by_value_not_by_order():
    outcomes = new_outcomes()
    run(outcomes, key(), arguments={"a": 1, "b": Volts(5.0)})
    assert kept(outcomes, key(), {"b": Volts(5.0), "a": 1})


@pytest.mark.parametrize(
    "other", [key("abcdefgi"), key(device="dmm"), key(target="set/current")]
)
async def test_an_id_counts_for_one_device_and_target(other):
    outcomes = new_outcomes()
    run(outcomes, key())
    assert outcomes.begin(other, 6) is None


async def test_what_was_never_started_can_be_tried_again():
    outcomes = new_outcomes()
    assert outcomes.begin(key(), 5) is None
    waiting = outcomes.begin(key(), 5)
    outcomes.finish(key(), reply(ok=False), keep=False)
    assert waiting is not None
    assert (await waiting).ok is False
    assert outcomes.begin(key(), 6) is None  # with other arguments, too


async def test_an_outcome_is_forgotten_after_ten_minutes():
    clock, outcomes = Clock(), new_outcomes()
    run(outcomes, key())
    clock._loop.shift += MEMORY - 5
    assert kept(outcomes, key())
    clock._loop.shift += 10
    assert not kept(outcomes, key(), arguments=6)


async def test_asking_again_does_not_make_it_last_longer():
    clock, outcomes = Clock(), new_outcomes()
    run(outcomes, key())
    clock._loop.shift += MEMORY / 2
    assert kept(outcomes, key())
    clock._loop.shift += MEMORY / 2 + 1
    assert not kept(outcomes, key())


async def test_the_newest_thousand_are_kept():
    outcomes = new_outcomes()
    for number in range(COUNT_LIMIT + 10):
        run(outcomes, key(f"id-{number:08}"))
    assert kept(outcomes, key("id-00000010"))
    assert kept(outcomes, key(f"id-{COUNT_LIMIT + 9:08}"))
    assert not kept(outcomes, key("id-00000009"))


async def test_four_mebibytes_are_kept():
    outcomes = new_outcomes()
    for number in range(6):
        run(outcomes, key(f"id-{number:08}"), "x" * (MIB - 1000))
    assert outcomes._bytes <= BYTES_LIMIT
    assert [kept(outcomes, key(f"id-{number:08}")) for number in (2, 3, 4, 5)] == [
        True
    ] * 4
    assert not kept(outcomes, key("id-00000001"))


async def test_a_command_that_still_runs_is_not_forgotten():
    clock, outcomes = Clock(), new_outcomes()
    assert outcomes.begin(key("running-"), 5) is None
    for number in range(COUNT_LIMIT + 10):
        run(outcomes, key(f"id-{number:08}"))
    clock._loop.shift += 2 * MEMORY
    waiting = outcomes.begin(key("running-"), 5)
    assert waiting is not None
    outcomes.finish(key("running-"), reply("late"), keep=True)
    assert await waiting == reply("late")


async def test_a_finished_command_that_is_not_known_any_more_is_no_error():
    new_outcomes().finish(key(), reply(), keep=True)


ids = st.integers(0, 3).map(lambda number: key(f"id-{number:08}"))
steps = st.one_of(
    st.tuples(st.just("begin"), ids, st.sampled_from([5, 6])),
    st.tuples(
        st.just("finish"), ids, st.booleans(), st.sampled_from([10, MIB, 3 * MIB])
    ),
    st.tuples(st.just("time"), st.sampled_from([10.0, 300.0, 601.0])),
)


@given(st.lists(steps, max_size=30))
async def test_the_size_is_that_of_what_is_kept(sequence):
    clock, outcomes = Clock(), new_outcomes()
    running: dict[Key, int] = {}
    for step in sequence:
        match step:
            case ("begin", which, arguments):
                try:
                    if outcomes.begin(which, arguments) is None:
                        assert which not in running  # never two at once
                        running[which] = arguments
                except Duplicate:
                    pass
            case ("finish", which, keep, size) if which in running:
                outcomes.finish(which, reply("x" * size), keep=keep)
                del running[which]
            case ("time", seconds):
                clock._loop.shift += seconds
        done = [entry for entry in outcomes._entries.values() if entry.outcome.done()]
        assert outcomes._bytes == sum(
            len(messages.encode(entry.outcome.result())) for entry in done
        )
        assert outcomes._bytes <= BYTES_LIMIT
        assert running.keys() <= outcomes._entries.keys()
