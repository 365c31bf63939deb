"""One device on the bus (contract 3): what is published when, and that the changes are the state."""

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.describe import Blob, Description, Event, Property, by_path
from busbar.device import BATCH_BYTES, FLUSH, Bus, Device
from busbar.errors import DeviceTimeout, LinkLost
from busbar.leaves import PACE
from busbar.outbox import Message, Outbox
from busbar.pace import LIMIT, WINDOW, Pace
from busbar.testing import Clock, settle
from busbar.topics import Topics

PSU = Description(
    "scpi",
    by_path([Property("voltage"), Property("current"), Property("mode", str), Property("wave", list[float])]),
    name="Bench supply",
)


@dataclass
class Bench:
    """A device, its outbox in place of the broker, and the clock."""

    clock: Clock
    outbox: Outbox
    bus: Bus
    device: Device
    published: list[Message] = field(default_factory=list)

    async def publish(self) -> list[Message]:
        """Let everything be sent and acknowledged; return it."""
        await settle()
        sent = list(iter(self.outbox.pull, None))
        for message in sent:
            self.outbox.delivered(message)
        self.published += sent
        return sent

    async def run(self, seconds: float, step: float = 0.25) -> list[Message]:
        """Let time pass, with a tick every second; return what was published."""
        sent = []
        for number in range(int(seconds / step)):
            await self.clock.advance(step)
            if number * step % 1 == 0:
                self.device.tick()
            sent += await self.publish()
        return sent


async def bench(
    description: Description = PSU,
    *,
    limit: int = 1024 * 1024,
    folder: Path | None = None,
    leaf: Callable[[str], bool] = lambda path: True,
    announced: bool = True,
) -> Bench:
    clock = Clock()
    outbox, pace = Outbox(limit), Pace(asyncio.get_running_loop().time)
    bus = Bus(Topics("busbar", "lab"), outbox, outbox, pace, "9f2c61aa", leaf, clock.now, folder)
    made = Bench(clock, outbox, bus, Device(bus, "psu", description, lambda described: described))
    if announced:
        made.device.announce()
        await made.publish()
        made.published.clear()
    return made


def many(count: int) -> Description:
    return Description("scpi", by_path(Property(f"p{number}", Any) for number in range(count)))


def of(sent: list[Message], channel: str) -> list[Any]:
    return [json.loads(message.payload) for message in sent if message.topic == f"busbar/lab/psu/{channel}"]


def topics(sent: list[Message]) -> list[str]:
    return [message.topic.removeprefix("busbar/lab/psu/") for message in sent]


def changes(sent: list[Message]) -> list[dict[str, Any]]:
    return [change for event in of(sent, "event/change") for change in event["changes"]]


def last(sent: list[Message], channel: str) -> Any:
    return of(sent, channel)[-1]


# What is published, contract 3.1 to 3.4


async def test_a_device_is_announced_before_it_is_reached():
    made = await bench(announced=False)
    made.device.announce()
    sent = await made.publish()
    assert [(topic, m.qos, m.retain) for topic, m in zip(topics(sent), sent, strict=True)] == [
        ("status", 1, True), ("info", 1, True), ("state", 1, True),
    ]  # fmt: skip
    status, info, state = (json.loads(message.payload) for message in sent)
    assert status == {
        "state": "offline", "since": made.device.since, "boot": "9f2c61aa", "revision": 1, "seq": 0, "reason": None,
    }  # fmt: skip
    assert (info["kind"], info["name"], info["device"], info["bridge"]) == ("scpi", "Bench supply", "psu", "lab")
    assert (info["contract"], info["revision"], info["boot"]) == (1, 1, "9f2c61aa")
    assert list(info["properties"]) == ["voltage", "current", "mode", "wave"]
    assert (state["seq"], state["values"], state["bad"], state["times"]) == (0, {}, {}, {})


async def test_a_new_value_is_a_change_a_leaf_and_a_snapshot():
    made = await bench()
    made.device.values({"voltage": 5.02, "mode": "cv"}, time=1753000000.1234567)
    sent = await made.run(2)
    time = 1753000000.123457  # microseconds
    assert changes(sent) == [
        {"path": "voltage", "time": time, "value": 5.02}, {"path": "mode", "time": time, "value": "cv"},
    ]  # fmt: skip
    assert of(sent, "event/change")[0]["seq"] == 1
    assert of(sent, "event/change")[0]["boot"] == "9f2c61aa"
    leaf = next(message for message in sent if message.topic.endswith("state/voltage"))
    assert (leaf.payload, leaf.qos, leaf.retain) == (b"5.02", 0, True)
    state = last(sent, "state")
    assert (state["seq"], state["values"]) == (1, {"voltage": 5.02, "mode": "cv"})
    assert state["times"] == {"voltage": time, "mode": time}


async def test_an_unchanged_value_is_not_published():
    made = await bench()
    made.device.values({"voltage": 5.0})
    await made.run(2)
    made.device.values({"voltage": 5.0})
    assert await made.run(2) == []


async def test_what_goes_bad_says_why_and_recovers():
    made = await bench()
    made.device.values({"voltage": 5.0})
    made.device.bad(["voltage", "current"], DeviceTimeout("no answer to VOLT?"))
    sent = await made.run(2)
    fault = {"code": "timeout", "message": "no answer to VOLT?"}
    assert [change.get("bad") for change in changes(sent)] == [None, fault, fault]
    assert last(sent, "state")["bad"] == {"voltage": fault, "current": fault}
    made.device.values({"voltage": 5.0, "current": math.nan})
    sent = await made.run(2)
    assert [(change["path"], change["value"]) for change in changes(sent)] == [("voltage", 5.0), ("current", None)]
    assert changes(sent)[0]["bad"] is None
    assert last(sent, "state")["bad"].keys() == {"current"}
    assert last(sent, "state")["values"]["current"] is None


async def test_a_property_that_goes_takes_its_leaf_along():
    made = await bench()
    made.device.values({"voltage": 5.0, "current": 1.0})
    await made.run(2)
    made.device.gone(["voltage"])
    sent = await made.run(2)
    assert [message.payload for message in sent if message.topic.endswith("state/voltage")] == [b""]
    assert [(change["path"], change["gone"]) for change in changes(sent)] == [("voltage", True)]
    assert last(sent, "state")["values"] == {"current": 1.0}


async def test_leaves_are_for_the_chosen_properties():
    made = await bench(leaf=lambda path: path == "mode")
    made.device.values({"voltage": 5.0, "mode": "cv"})
    assert [topic for topic in topics(await made.run(2)) if topic.startswith("state/")] == ["state/mode"]
    made.device.gone(["voltage", "mode"])
    assert [topic for topic in topics(await made.run(2)) if topic.startswith("state/")] == ["state/mode"]


async def test_a_leaf_has_the_newest_value_when_the_broker_is_slow():
    made = await bench()
    for volts in (1.0, 2.0, 3.0):
        made.device.values({"voltage": volts})
        await settle()
    sent = await made.publish()
    assert [message.payload for message in sent if message.topic.endswith("state/voltage")] == [b"3.0"]
    assert [change["value"] for change in changes(sent)] == [1.0, 2.0, 3.0]  # every transition, in order


# When, contract 3.3 and 3.4


async def test_changes_are_sent_at_once_while_none_is_in_flight():
    made = await bench()
    made.device.values({"voltage": 1.0})
    made.device.values({"voltage": 2.0})
    await settle()
    assert [len(event["changes"]) for event in of(await made.publish(), "event/change")] == [2]


async def test_changes_are_gathered_for_20_ms_while_one_is_in_flight():
    made = await bench()
    made.device.values({"voltage": 1.0})
    await settle()
    unacknowledged = made.outbox.pull()
    while not unacknowledged.topic.endswith("change"):
        unacknowledged = made.outbox.pull()
    for volts in (2.0, 3.0):
        made.device.values({"voltage": volts})
        await settle()
    assert made.outbox.queued == 0
    await made.clock.advance(0.05)
    events = of(await made.publish(), "event/change")
    assert [[change["value"] for change in event["changes"]] for event in events] == [[2.0, 3.0]]


async def test_changes_follow_the_acknowledgement_of_those_before():
    made = await bench()
    made.device.values({"voltage": 0.0})
    await made.publish()  # with the snapshot, which flushes too
    for volts in (1.0, 2.0, 3.0):
        made.device.values({"voltage": volts})
        await settle()
    assert [change["value"] for change in changes(await made.publish())] == [1.0]
    assert [change["value"] for change in changes(await made.publish())] == [2.0, 3.0]  # no time has passed


async def test_changes_gather_for_20_ms_when_there_are_very_many():
    made = await bench()
    pauses = 0.005
    for number in range(round(2 * WINDOW / pauses)):
        for step in range(round(2 * LIMIT * pauses)):
            made.device.values({"voltage": number + step / 1000})
        await made.publish()
        await made.clock.advance(pauses)
    await made.clock.advance(FLUSH)
    await made.publish()
    made.published.clear()
    made.device.values({"voltage": -1.0})
    await made.publish()
    assert changes(made.published) == []
    await made.clock.advance(FLUSH)
    assert [change["value"] for change in changes(await made.publish())] == [-1.0]
    await made.clock.advance(2 * WINDOW)
    made.device.values({"voltage": -2.0})
    assert [change["value"] for change in changes(await made.publish())] == [-2.0]


async def test_a_leaf_comes_five_times_a_second_when_there_are_very_many_changes():
    made = await bench()
    pauses = 0.005
    for number in range(round(1.2 / pauses)):
        made.device.values({"voltage": number / 1000})
        made.bus.pace.count(round(2 * LIMIT * pauses))  # of others
        await made.publish()
        await made.clock.advance(pauses)
    leaves = of(made.published, "state/voltage")
    assert 4 <= len(leaves) <= 1.2 / PACE + WINDOW / pauses  # at first nobody knows how many it will be
    await made.clock.advance(PACE)
    assert of(await made.publish(), "state/voltage") == [number / 1000]  # the last one in any case


async def test_many_changes_are_split_into_messages_of_16_kib():
    made = await bench(many(500))
    made.device.values({f"p{number}": "x" * 200 for number in range(500)})
    sent = await made.publish()
    events = [message for message in sent if message.topic.endswith("event/change")]
    assert 7 <= len(events) <= 16
    assert all(len(message.payload) <= BATCH_BYTES for message in events)
    assert [event["seq"] for event in of(sent, "event/change")] == list(range(1, len(events) + 1))
    assert [change["path"] for change in changes(sent)] == [f"p{number}" for number in range(500)]


async def test_one_large_change_is_a_message_of_its_own():
    made = await bench(many(3))
    made.device.values({"p0": 1, "p1": "x" * 2 * BATCH_BYTES, "p2": 3})
    sent = await made.publish()
    assert [len(event["changes"]) for event in of(sent, "event/change")] == [1, 1, 1]


async def test_a_change_too_large_for_the_bus_is_a_gap_and_counted():
    made = await bench(many(3), limit=20_000)
    made.device.values({"p0": 1, "p1": "x" * 30_000, "p2": 3})
    sent = await made.publish()
    assert [event["seq"] for event in of(sent, "event/change")] == [1, 3]
    assert [change["path"] for change in changes(sent)] == ["p0", "p2"]
    assert made.outbox.dropped == 2  # the change and the leaf


async def test_changes_are_split_at_the_limit_of_the_broker():
    made = await bench(many(100), limit=2000)
    made.device.values({f"p{number}": "x" * 100 for number in range(100)})
    assert len(changes(await made.publish())) == 100


async def test_a_snapshot_comes_at_most_once_a_second_and_the_last_one_always():
    made = await bench()
    sent = []
    for number in range(50):
        made.device.values({"voltage": float(number)})
        sent += await made.run(0.1, step=0.1)
    assert 4 <= len(of(sent, "state")) <= 6
    sent += await made.run(2)
    assert last(sent, "state")["values"] == {"voltage": 49.0}
    assert last(sent, "state")["seq"] == last(sent, "event/change")["seq"]


async def test_a_large_snapshot_comes_at_most_at_64_kib_a_second():
    made = await bench(many(3))
    made.device.values({"p0": "x" * 256 * 1024})
    await made.run(6)
    sent = []
    for number in range(20):
        made.device.values({"p1": number})
        sent += await made.run(1)
    assert 3 <= len(of(sent, "state")) <= 6
    assert last([*sent, *await made.run(6)], "state")["values"]["p1"] == 19


async def test_a_snapshot_covers_the_changes_before_it():
    """What has changed when the snapshot can be sent is in it, and its seq says so."""
    made = await bench()
    made.device.announce()
    made.device.values({"voltage": 5.0})
    sent = [made.outbox.pull() for _ in range(4)]
    assert topics(sent) == ["status", "info", "state", "event/change"]
    assert (of(sent, "state")[0]["seq"], of(sent, "event/change")[0]["seq"]) == (1, 1)
    assert of(sent, "state")[0]["values"] == {"voltage": 5.0}


async def test_the_snapshot_comes_every_60_seconds_without_change():
    made = await bench()
    await made.run(2)
    assert len(of(await made.run(59), "state")) <= 1
    assert len(of(await made.run(130), "state")) in (2, 3)


@pytest.mark.parametrize(("count", "seconds"), [(100, 60), (101, 600)])
async def test_leaves_are_repeated_every_minute_or_every_ten_where_there_are_many(count, seconds):
    made = await bench(many(count))
    made.device.values({f"p{number}": number for number in range(count)})
    await made.run(2)
    made.clock._loop.shift += seconds - 10
    assert "state/p0" not in topics(await made.run(2))
    sent = await made.run(12)
    assert topics(sent).count("state/p0") == 1
    assert sum(topic.startswith("state/") for topic in topics(sent)) == count


async def test_a_value_that_nobody_confirms_goes_stale():
    made = await bench(Description("scpi", by_path([Property("voltage", max_age=5.0)])))
    made.device.values({"voltage": 5.0})
    await made.run(4)
    assert last(await made.run(4), "state")["bad"]["voltage"]["code"] == "stale"


async def test_announce_publishes_everything_anew_whatever_the_broker_has():
    """Contract 5, 3: after every connect."""
    made = await bench()
    made.device.values({"voltage": 5.0, "current": 1.0})
    await made.run(3)
    made.outbox.begin()
    made.device.announce()
    made.device.announce_leaves()
    sent = await made.publish()
    assert topics(sent) == ["status", "info", "state", "state/voltage", "state/current"]
    assert last(sent, "state")["values"] == {"voltage": 5.0, "current": 1.0}


# Availability, contract 3.1


async def test_online_is_published_with_its_time():
    made = await bench()
    await made.clock.advance(5)
    made.device.online()
    status = last(await made.publish(), "status")
    assert (status["state"], status["reason"]) == ("online", None)
    assert status["since"] == made.device.since > made.clock.now() - 4


async def test_the_same_status_is_not_published_again():
    made = await bench()
    made.device.online()
    await made.publish()
    made.device.online()
    assert await made.publish() == []


@pytest.mark.parametrize("leave", [
    lambda device: device.offline(LinkLost("the plug is out")),
    lambda device: device.set_status("stopped"),
])  # fmt: skip
async def test_a_device_that_goes_away_marks_everything_bad(leave):
    made = await bench(PSU.with_(properties={**PSU.properties, "_lock": Property("_lock", Any)}))
    made.device.online()
    made.device.values({"voltage": 5.0, "mode": "cv", "_lock": None})
    await made.run(2)
    leave(made.device)
    sent = await made.run(2)
    assert last(sent, "status")["state"] in ("offline", "stopped")
    state = last(sent, "state")
    assert state["values"] == {"voltage": 5.0, "mode": "cv", "_lock": None}  # the last values stay
    assert {path: bad["code"] for path, bad in state["bad"].items()} == {"voltage": "offline", "mode": "offline"}
    assert {change["path"] for change in changes(sent)} == {"voltage", "mode"}


async def test_the_reason_of_an_offline_device_is_told():
    made = await bench()
    made.device.online()
    made.device.values({"voltage": 5.0})
    made.device.offline(LinkLost("the plug is out"))
    sent = await made.run(2)
    assert last(sent, "status")["reason"] == {"code": "link", "message": "the plug is out"}
    assert last(sent, "state")["bad"]["voltage"]["message"] == "the plug is out"


async def test_a_device_that_is_back_confirms_its_values():
    made = await bench()
    made.device.online()
    made.device.values({"voltage": 5.0})
    made.device.offline(LinkLost("the plug is out"))
    made.device.online()
    made.device.values({"voltage": 5.0})
    assert last(await made.run(2), "state")["bad"] == {}


async def test_a_device_that_is_to_stay_offline_takes_no_values():
    made = await bench()
    made.device.refused = made.device.silent
    made.device.offline(LinkLost("x"))
    made.device.refused = made.device.silent
    made.device.values({"voltage": 5.0})
    made.device.online()
    sent = await made.run(2)
    assert last(sent, "status")["state"] == "offline"
    assert changes(sent) == []


# The description, contract 3.2

SMALL = Description("indi", by_path([Property("a", Any)]))
LARGER = SMALL.with_(properties={**SMALL.properties, "b": Property("b", Any)})


async def test_a_new_description_is_published_after_a_moment_with_the_next_revision():
    made = await bench(SMALL)
    made.device.describe(LARGER)
    assert await made.publish() == []
    sent = await made.run(0.5, step=0.1)
    assert topics(sent) == ["info", "status"]
    assert (last(sent, "info")["revision"], last(sent, "status")["revision"]) == (2, 2)
    assert set(last(sent, "info")["properties"]) == {"a", "b"}


async def test_the_same_description_is_not_published_again():
    made = await bench(SMALL)
    await made.run(1)
    made.device.describe(SMALL.with_())
    assert await made.run(2) == []


async def test_a_description_that_keeps_changing_is_published_after_a_second():
    made = await bench(SMALL)
    sent = []
    for number in range(30):
        made.device.describe(SMALL.with_(serial=str(number)))
        sent += await made.run(0.1, step=0.1)
    assert 2 <= len(of(sent, "info")) <= 4
    assert last([*sent, *await made.run(1)], "info")["serial"] == "29"


async def test_announce_does_not_wait_for_a_description_to_settle():
    made = await bench(SMALL)
    made.device.values({"a": 1})
    await made.run(2)
    made.device.describe(LARGER)
    made.device.announce()
    sent = await made.publish()
    assert topics(sent) == ["info", "status", "state"]
    assert (last(sent, "info")["revision"], last(sent, "state")["values"]) == (2, {"a": 1})
    assert of(await made.run(2), "info") == []


async def test_a_new_description_counts_for_the_next_reading():
    made = await bench(SMALL)
    made.device.values({"a": 1.0})
    made.device.describe(SMALL.with_(properties=by_path([Property("a", Any, deadband=10.0)])))
    made.device.values({"a": 2.0})
    assert last(await made.run(3), "state")["values"] == {"a": 1.0}


def first_mention(sent: list[Message], path: str) -> tuple[int, int]:
    """Return where a property is first in `info`, and where its first value is."""
    named = valued = len(sent)
    for position, message in reversed(list(enumerate(sent))):
        topic = message.topic.removeprefix("busbar/lab/psu/")
        if topic == "info" and path in json.loads(message.payload)["properties"]:
            named = position
        elif topic == f"state/{path}" or (topic != "info" and f'"{path}"'.encode() in message.payload):
            valued = position
    return named, valued


async def test_a_value_is_published_after_the_info_that_names_it():
    made = await bench(SMALL)
    made.device.values({"a": 1})
    sent = await made.publish()
    made.device.describe(LARGER)
    made.device.values({"b": 1})
    made.device.announce()
    sent += await made.run(3, step=0.05)
    named, valued = first_mention(sent, "b")
    assert named < valued < len(sent)


async def test_a_value_waits_for_the_info_that_names_it():
    made = await bench(SMALL)
    made.device.describe(LARGER)
    made.device.values({"b": 1})
    sent = await made.run(3, step=0.05)
    named, valued = first_mention(sent, "b")
    assert named < valued < len(sent)


async def test_a_value_waits_for_the_info_while_a_change_is_in_flight():
    made = await bench(SMALL)
    made.device.values({"a": 1})
    await settle()
    sent = list(iter(made.outbox.pull, None))  # not acknowledged yet
    made.device.values({"a": 2})
    await settle()
    made.device.describe(LARGER)
    made.device.values({"b": 1})
    sent += await made.run(3, step=0.05)
    named, valued = first_mention(sent, "b")
    assert named < valued < len(sent)


async def test_a_leaf_waits_for_the_info_that_names_it():
    made = await bench(SMALL)
    made.device.describe(LARGER)
    made.device.values({"b": 1})
    made.device.announce_leaves()
    sent = await made.run(3, step=0.05)
    named, valued = first_mention(sent, "b")
    assert named < valued < len(sent)


async def test_a_property_that_is_described_no_more_is_gone():
    made = await bench(LARGER)
    made.device.values({"a": 1, "b": 2})
    await made.run(2)
    made.device.describe(SMALL)
    sent = await made.run(3)
    assert [(change["path"], change.get("gone")) for change in changes(sent)] == [("b", True)]
    assert last(sent, "state")["values"] == {"a": 1}
    assert [message.payload for message in sent if message.topic.endswith("state/b")] == [b""]


FAMILY = Description("cip", by_path([Property("digital/{join}", bool, parameters={"join": range(1, 9)}, max_age=5.0)]))


async def test_members_of_a_family_have_values():
    made = await bench(FAMILY)
    made.device.values({"digital/1": True, "digital/8": False})
    assert last(await made.run(2), "state")["values"] == {"digital/1": True, "digital/8": False}


@pytest.mark.parametrize("after", [SMALL, FAMILY.with_(properties=by_path([Property("digital/{join}", bool,
                                   parameters={"join": range(1, 2)})]))])  # fmt: skip
async def test_members_of_a_family_that_is_described_no_more_are_gone(after):
    made = await bench(FAMILY)
    made.device.values({"digital/8": True})
    await made.run(2)
    made.device.describe(after)
    sent = await made.run(10)
    assert last(sent, "state")["values"] == {}


async def test_a_snapshot_that_does_not_fit_publishes_what_fits_and_says_so():
    made = await bench(many(40), limit=4000)
    values = {f"p{number}": number for number in range(40)} | {"p7": "x" * 3700}
    made.device.values(values)
    sent = await made.run(4)
    assert all(len(message.payload) + len(message.topic) <= 4000 for message in sent)
    state = last(sent, "state")
    assert "p7" not in state["values"]
    assert state["values"].items() <= values.items()
    assert last(await made.run(0) or made.published, "info")["truncated"] == 40 - len(state["values"])
    made.device.values({"p7": 7})
    sent = await made.run(4)
    assert last(sent, "state")["values"] == values | {"p7": 7}
    assert "truncated" not in last(sent, "info")


async def test_a_snapshot_of_which_too_much_is_bad_is_published_all_the_same():
    made = await bench(many(100), limit=6000)
    made.device.bad([f"p{number}" for number in range(100)], LinkLost("the other side closed the connection"))
    assert of(await made.run(4), "state")


# Events and blobs


async def test_events_are_counted_by_topic():
    made = await bench()
    for name in ("trip", "trip", "key", "trip"):
        made.device.event(name, {"level": 3}, time=5.0)
    sent = await made.publish()
    assert of(sent, "event/trip") == [
        {"boot": "9f2c61aa", "seq": seq, "time": 5.0, "level": 3} for seq in (1, 2, 3)
    ]  # fmt: skip
    assert [event["seq"] for event in of(sent, "event/key")] == [1]
    assert all((message.qos, message.retain) == (1, False) for message in sent)


async def test_the_seq_is_given_when_the_event_happens_so_that_a_drop_is_a_gap():
    made = await bench(limit=500)
    for size in (1, 1000, 1):
        made.device.event("trip", {"text": "x" * size})
    assert [event["seq"] for event in of(await made.publish(), "event/trip")] == [1, 3]
    assert made.outbox.dropped == 1


async def test_an_event_may_be_declared_as_messagepack():
    made = await bench(PSU.with_(events={"frame": Event("frame", encoding="msgpack")}))
    made.device.event("frame", {"data": b"\x00\xff"}, time=5.0)
    [message] = await made.publish()
    assert message.content_type == "application/msgpack"
    assert msgpack.unpackb(message.payload) == {"boot": "9f2c61aa", "seq": 1, "time": 5.0, "data": b"\x00\xff"}


CAMERA = Description("indi").with_blob(Blob("ccd/image", "image/fits"))


async def test_a_blob_is_published_raw_and_its_property_describes_it():
    made = await bench(CAMERA)
    made.device.blob("ccd/image", b"\x00\x01", "image/fits")
    sent = await made.run(2)
    blob = next(message for message in sent if message.topic.endswith("blob/ccd/image"))
    assert (blob.payload, blob.qos, blob.retain, blob.content_type) == (b"\x00\x01", 0, False, "image/fits")
    latest = {"size": 2, "content_type": "image/fits", "file": None}
    assert last(sent, "state")["values"] == {"ccd/image": latest}


async def test_a_blob_too_large_for_the_bus_is_saved(tmp_path):
    made = await bench(CAMERA, limit=1000, folder=tmp_path)
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    latest = last(sent, "state")["values"]["ccd/image"]
    assert latest["size"] == 2000
    assert (tmp_path / latest["file"]).read_bytes() == b"x" * 2000
    assert made.outbox.dropped == 0


async def test_a_blob_too_large_for_the_bus_is_counted_where_there_is_no_folder():
    made = await bench(CAMERA, limit=1000)
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    assert last(sent, "state")["values"]["ccd/image"]["file"] is None
    assert made.outbox.dropped == 1


async def test_a_blob_that_cannot_be_saved_is_counted_and_logged(tmp_path, caplog):
    made = await bench(CAMERA, limit=1000, folder=tmp_path / "missing")
    made.device.blob("ccd/image", b"x" * 2000, "image/fits")
    assert last(await made.run(2), "state")["values"]["ccd/image"]["file"] is None
    assert made.outbox.dropped == 1
    assert "blob ccd/image of psu (2000 bytes) is lost" in caplog.text


async def test_a_blob_that_its_session_has_saved_is_described_with_what_is_known_of_it():
    made = await bench(CAMERA, limit=1000)
    made.device.blob("ccd/image", b"x" * 2000, "image/fits", file="a.fits", about={"sha256": "00"})
    sent = await made.run(2)
    assert "blob/ccd/image" not in topics(sent)
    latest = {"size": 2000, "content_type": "image/fits", "file": "a.fits", "sha256": "00"}
    assert last(sent, "state")["values"]["ccd/image"] == latest
    assert made.outbox.dropped == 0
    made.device.blob("ccd/image", b"x", "image/fits", file="b.fits")
    assert "blob/ccd/image" in topics(await made.run(2))


async def test_a_retained_blob_goes_with_its_device():
    made = await bench(CAMERA)
    made.device.blob("ccd/image", b"x", "image/fits", retain=True)
    made.device.withdraw()
    blobs = [each for each in await made.run(2) if each.topic.endswith("blob/ccd/image")]
    assert [(each.payload, each.retain) for each in blobs] == [(b"x", True), (b"", True)]


# The end


async def test_a_device_that_leaves_removes_every_retained_topic():
    made = await bench()
    made.device.values({"voltage": 5.0, "mode": "cv"})
    await made.run(2)
    made.device.withdraw()
    sent = await made.run(2)
    assert {message.topic for message in sent if message.retain and not message.payload} == {
        f"busbar/lab/psu/{topic}" for topic in ("status", "info", "state", "state/voltage", "state/mode")
    }
    assert all(message.payload == b"" for message in sent)


async def test_a_device_that_left_publishes_nothing_that_was_under_way():
    made = await bench()
    made.device.values({"voltage": 5.0})
    await made.publish()
    made.device.values({"voltage": 6.0})
    made.device.describe(PSU.with_(serial="7"))
    made.device.withdraw()
    assert all(message.payload == b"" for message in await made.run(5) if message.retain)


async def test_a_device_that_left_does_not_publish_what_was_held_back():
    made = await bench(Description("scpi", by_path([Property("voltage", min_interval=5.0)])))
    made.device.values({"voltage": 5.0})
    made.device.values({"voltage": 6.0})
    await made.publish()
    made.device.withdraw()
    await made.publish()
    sent = await made.run(10)
    assert sent == []


# The rule of contract 3.4


@dataclass
class Reader:
    """A subscriber from the beginning: snapshot with seq s plus all changes after s is the state."""

    seq: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, Any] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        topic = message.topic.removeprefix("busbar/lab/psu/")
        body = json.loads(message.payload) if message.payload else None
        if topic == "state":
            assert body["seq"] >= self.seq, "the snapshot is older than the changes before it"
            self.seq, self.values, self.bad = body["seq"], dict(body["values"]), dict(body["bad"])
            self.snapshot = body
        elif topic == "event/change" and body["seq"] > self.seq:
            assert body["seq"] == self.seq + 1, "a gap"
            self.seq = body["seq"]
            for change in body["changes"]:
                self.apply(change)

    def apply(self, change: dict[str, Any]) -> None:
        path = change["path"]
        if change.get("gone"):
            self.values.pop(path, None)
            self.bad.pop(path, None)
            return
        if "value" in change:
            self.values[path] = change["value"]
        if change.get("bad", ...) is None:
            del self.bad[path]
        elif "bad" in change:
            self.bad[path] = change["bad"]


DESCRIBED = by_path(
    [Property("a", Any), Property("b", float, deadband=1.0), Property("c", float, min_interval=0.5),
     Property("d", float, max_age=2.0), Property("e/{n}", Any, parameters={"n": range(3)})]
)  # fmt: skip
VARIANTS = [
    Description("scpi", DESCRIBED),
    Description("scpi", {path: each for path, each in DESCRIBED.items() if path != "b"}),
    Description("scpi", DESCRIBED, commands={}, serial="7"),
]
PATHS = ["a", "b", "c", "d", "e/0", "e/2"]
values_ = st.sampled_from([0.0, 0.5, 1.0, 5.0, math.nan]) | st.sampled_from([None, True, "x", {"y": 1}, "z" * 9000])
ops = st.one_of(
    st.tuples(st.just("values"), st.dictionaries(st.sampled_from(PATHS), values_, min_size=1, max_size=4)),
    st.tuples(st.just("values"), st.dictionaries(st.sampled_from(PATHS), values_, min_size=1, max_size=1)),
    st.tuples(st.just("bad"), st.sets(st.sampled_from(PATHS), max_size=3)),
    st.tuples(st.just("gone"), st.sets(st.sampled_from(PATHS), max_size=2)),
    st.tuples(st.just("describe"), st.sampled_from(VARIANTS)),
    st.tuples(st.just("status"), st.sampled_from(["online", "offline", "connecting"])),
    st.tuples(st.just("announce")),
    st.tuples(st.just("tick")),
    st.tuples(st.just("pull"), st.integers(1, 5)),
    st.tuples(st.just("acknowledge")),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("time"), st.sampled_from([0.01, 0.03, 0.3, 1.1])),
)


def perform(made: Bench, op: tuple[Any, ...], flying: list[Message]) -> None:
    device, described = made.device, made.device.description.find
    match op:
        case ("values", values):
            device.values({path: value for path, value in values.items() if described(path)})
        case ("bad", paths):
            device.bad(sorted(path for path in paths if described(path)), LinkLost("broken"))
        case ("gone", paths):
            device.gone(sorted(paths))
        case ("describe", description):
            device.describe(description)
        case ("status", status):
            device.set_status(status)
        case ("announce",):
            device.announce()
            device.announce_leaves()
        case ("tick",):
            device.tick()
        case ("pull", count):
            flying += [message for message in (made.outbox.pull() for _ in range(count)) if message]
        case ("reconnect",):
            made.outbox.returned([message for message in flying if message.qos])
            flying.clear()
            made.outbox.begin()
            device.announce()
        case ("time", seconds):
            made.clock._loop.shift += seconds


@given(st.lists(ops, max_size=40))
@settings(deadline=None, max_examples=150)
async def test_the_snapshot_and_the_changes_after_it_are_the_state(sequence):
    """Whatever happens on either side, and however slow the broker is."""
    made = await bench(VARIANTS[0])
    reader, flying = Reader(), list[Message]()

    def acknowledge() -> None:
        for message in flying:
            reader.take(message)
            made.outbox.delivered(message)
        flying.clear()

    for op in sequence:
        perform(made, op, flying)
        if op == ("acknowledge",):
            acknowledge()
        await settle()
    flying += await finish(made)
    acknowledge()
    assert (reader.values, reader.bad) == (reader.snapshot["values"], reader.snapshot["bad"])
    assert reader.snapshot["seq"] == reader.seq
    state = made.device.state
    assert json.dumps(reader.values) == json.dumps({path: state.values[path] for path in reader.values})
    assert reader.values.keys() == state.values.keys()
    assert reader.bad.keys() == state.bad.keys()


async def finish(made: Bench) -> list[Message]:
    """Let everything get out, ending with a snapshot."""
    sent = []
    for _ in range(4):
        await made.clock.advance(0.75)
        sent += list(iter(made.outbox.pull, None))
    made.device.announce()
    await settle()
    return sent + list(iter(made.outbox.pull, None))


async def test_an_event_that_fills_the_room_of_a_device_fits():
    made = await bench(limit=1000)
    made.device.event("trip", {"text": "x" * (made.device.room - len('"text":"",'))})
    assert "event/trip" in topics(await made.run(2))
    assert made.outbox.dropped == 0
    assert 600 < made.device.room < 1000
