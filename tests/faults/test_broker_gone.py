"""The broker dies and comes back.

Killed with -9, away for long, with and without what it had retained.
"""

import asyncio
import json

import pytest

from tests.broker import Mosquitto
from tests.faults.conftest import Record
from tests.faults.support import BEEP, BRIDGE, TOY, Reader, kept, lab

PERSISTENT = ("persistence true", "autosave_on_changes true", "autosave_interval 1")
BURST = 3000
IN_ORDER = (
    "events wait and are sent in order; what the broker took with it shows as a gap in "
    "seq"
)


@pytest.mark.parametrize("options", [(), PERSISTENT], ids=["empty", "persistent"])
async def test_a_broker_killed_during_a_burst_costs_only_what_it_had_acknowledged(
    options: tuple[str, ...], record: Record
) -> None:
    with Mosquitto(*options) as broker:
        async with lab(broker) as it:
            burst = asyncio.create_task(it.burst(BURST))
            await it.live.until(
                lambda: len(it.reader.seqs[BEEP]) > BURST // 4,
                "the middle of the burst",
            )
            it.kill()
            await it.lost()
            taken = {seq for topic, seq in it.live.acknowledged if topic == BEEP}
            it.outlet.values({"level": 9.0})
            await burst
            seconds = await it.back()
            await it.live.until(
                lambda: it.reader.seqs[BEEP][-1] == BURST, "the last event"
            )
            missing = it.reader.missing(BEEP)
            assert missing <= taken
            assert it.live.dropped == 0
            assert in_order(it.reader.seqs[BEEP])
            retained = await kept(broker.port)
            assert json.loads(retained[f"{TOY}/state"])["values"]["level"] == 9.0
            assert json.loads(retained[f"{TOY}/state/level"]) == 9.0
            record(
                (
                    f"killed with -9 in a burst of {BURST} events, back "
                    f"{back_with(options)}"
                ),
                IN_ORDER,
                f"back online after {seconds:.1f} s; 0 of {BURST - len(taken)} "
                f"unacknowledged events lost, "
                f"{len(missing)} acknowledged ones died with the broker, each a gap",
            )


def in_order(seqs: list[int]) -> bool:
    """Later ones follow earlier ones; those that were in flight may come twice."""
    firsts = list(dict.fromkeys(seqs))
    return firsts == sorted(firsts)


@pytest.mark.parametrize("options", [(), PERSISTENT], ids=["empty", "persistent"])
async def test_a_command_while_the_broker_dies_runs_once_with_its_outcome(
    options: tuple[str, ...], record: Record
) -> None:
    with Mosquitto(*options) as broker:
        async with lab(broker) as it:
            command = '{"seconds": 20, "_id": "killed-01"}'
            it.reader.publish(f"{TOY}/call/work", command)
            await it.live.until(lambda: ("work", 20.0) in it.toy.did, "the start")
            it.kill()
            await it.lost()
            await it.live.clock.advance(40)
            seconds = await it.back()
            await it.live.until(lambda: outcomes(it.reader, "killed-01"), "the outcome")
            assert outcomes(it.reader, "killed-01")[0]["ok"]
            again = await it.reader.call(f"{TOY}/call/work", command)
            assert again == outcomes(it.reader, "killed-01")[0]
            assert it.toy.did.count(("work", 20.0)) == 1
            record(
                (
                    f"killed with -9 while a command runs, away for 40 s, back "
                    f"{back_with(options)}"
                ),
                "it runs once; its outcome waits 60 s for the broker",
                (
                    f"1 run, outcome {seconds:.1f} s after the broker; asked again "
                    f"with "
                    f"its id: the same, no second run"
                ),
            )


def back_with(options: tuple[str, ...]) -> str:
    return "with an old file" if options else "empty"


async def test_an_outcome_that_nobody_can_wait_for_any_more_is_dropped_and_counted(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        for number in range(5):
            it.reader.publish(
                f"{TOY}/call/wait", json.dumps({"seconds": 2, "_id": number})
            )
        await it.live.until(
            lambda: it.live.bridge._commands.received == 5, "the commands"
        )
        it.kill()
        await it.lost()
        await it.live.clock.advance(90)
        await it.back()
        await it.live.until(lambda: it.live.quiet, "quiet")
        assert not [each for number in range(5) for each in outcomes(it.reader, number)]
        assert it.live.dropped == 5
        record(
            "away for 90 s with 5 outcomes to send",
            "replies wait 60 s; every drop is counted",
            f"{it.live.dropped} dropped = 5 missing",
        )


def outcomes(reader: Reader, id_: object) -> list[dict[str, object]]:
    replies = [each.json for each in reader.on(f"{TOY}/reply")]
    return [each for each in replies if each["id"] == id_]


def in_step(reader: Reader) -> bool:
    """The changes have come that the snapshot tells of."""
    return (
        max(reader.seqs[f"{TOY}/event/change"], default=0)
        >= reader.say(f"{TOY}/state")["seq"]
    )


@pytest.mark.parametrize("seconds", [30, 300])
async def test_every_change_during_an_absence_arrives_in_order_with_its_own_time(
    broker: Mosquitto, seconds: int, record: Record
) -> None:
    async with lab(broker) as it:
        it.kill()
        await it.lost()
        count = seconds * 4
        for number in range(count):
            it.outlet.values({"reading": float(number)})
            await it.live.clock.advance(0.25)
        took = await it.back()
        await it.live.until(
            lambda: it.reader.value("reading") == count - 1, "the newest value"
        )
        await it.live.until(
            lambda: in_step(it.reader), "the changes up to the snapshot"
        )
        changes = [
            change
            for event in it.reader.on(f"{TOY}/event/change")
            for change in event.json["changes"]
            if change["path"] == "reading"
        ]
        assert [change["value"] for change in changes] == list(range(count))
        assert it.reader.missing(f"{TOY}/event/change") == set()
        assert it.live.dropped == 0
        span = changes[-1]["time"] - changes[0]["time"]
        assert span >= seconds - 1
        record(
            (
                f"gone for {seconds} s while a value changes 4 times a second (virtual "
                f"clock)"
            ),
            (
                "every transition arrives, in order, with the time it happened; the "
                "snapshot is the newest"
            ),
            (
                f"back online after {took:.1f} s, 0 of {count} changes lost, stamped "
                f"over "
                f"{span:.0f} s"
            ),
        )


async def test_a_flood_during_an_absence_is_bounded_and_drops_are_what_is_missing(
    broker: Mosquitto, record: Record
) -> None:
    async with lab(broker) as it:
        # else the end of the broker decides about what was on its way
        await it.live.settled(it.reader)
        it.kill()
        await it.lost()
        await it.burst(14_000, size=1000)
        queued = it.live.outbox.queued
        assert queued <= 10_000
        took = await it.back()
        await it.live.until(
            lambda: it.reader.seqs[BEEP][-1:] == [14_000], "the newest event"
        )
        await it.live.pass_time(11)
        await it.live.until(
            lambda: it.reader.value("dropped", BRIDGE) == it.live.dropped,
            "the published count",
        )
        await it.live.until(
            lambda: it.live.missing(it.reader) == it.live.dropped,
            "the count that is missing",
            60,
        )
        assert it.live.dropped > 3000
        record(
            "gone while 14 000 events happen",
            "10 000 wait, the oldest are dropped, each is a gap and counted",
            (
                f"back online after {took:.1f} s; {it.live.dropped} dropped = "
                f"{it.live.missing(it.reader)} missing"
            ),
        )
