"""One device on the bus (contract 3.1, 3.3, 3.4).

What is published, when, and how it ends.
"""

import json
import math
from typing import Any

import pytest

from busbar.contract.describe import Description, Property, by_path
from busbar.errors import DeviceTimeout, LinkLost
from busbar.publish.change_rate import LIMIT, WINDOW
from busbar.publish.device import BATCH_BYTES, FLUSH
from busbar.testing.fakes import settle
from tests.device import PSU, bench, changes, last, many, of, topics


async def test_a_device_is_announced_before_it_is_reached():
    made = await bench(announced=False)
    made.device.announce()
    sent = await made.publish()
    assert [
        (topic, m.qos, m.retain) for topic, m in zip(topics(sent), sent, strict=True)
    ] == [
        ("status", 1, True),
        ("info", 1, True),
        ("state", 1, True),
    ]
    status, info, state = (json.loads(message.payload) for message in sent)
    assert status == {
        "state": "offline",
        "since": made.device.since,
        "boot": "9f2c61aa",
        "revision": 1,
        "seq": 0,
        "reason": None,
    }
    assert (info["kind"], info["name"], info["device"], info["bridge"]) == (
        "scpi",
        "Bench supply",
        "psu",
        "lab",
    )
    assert (info["contract"], info["revision"], info["boot"]) == (1, 1, "9f2c61aa")
    assert list(info["properties"]) == ["voltage", "current", "mode", "wave"]
    assert (state["seq"], state["values"], state["bad"], state["times"]) == (
        0,
        {},
        {},
        {},
    )


async def test_a_new_value_is_a_change_a_leaf_and_a_snapshot():
    made = await bench()
    made.device.values({"voltage": 5.02, "mode": "cv"}, time=1753000000.1234567)
    sent = await made.run(2)
    time = 1753000000.123457  # microseconds
    assert changes(sent) == [
        {"path": "voltage", "time": time, "value": 5.02},
        {"path": "mode", "time": time, "value": "cv"},
    ]
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
    assert [(change["path"], change["value"]) for change in changes(sent)] == [
        ("voltage", 5.0),
        ("current", None),
    ]
    assert changes(sent)[0]["bad"] is None
    assert last(sent, "state")["bad"].keys() == {"current"}
    assert last(sent, "state")["values"]["current"] is None


async def test_changes_are_sent_at_once_while_none_is_in_flight():
    made = await bench()
    made.device.values({"voltage": 1.0})
    made.device.values({"voltage": 2.0})
    await settle()
    assert [
        len(event["changes"]) for event in of(await made.publish(), "event/change")
    ] == [2]


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
    assert [[change["value"] for change in event["changes"]] for event in events] == [
        [2.0, 3.0]
    ]


async def test_changes_follow_the_acknowledgement_of_those_before():
    made = await bench()
    made.device.values({"voltage": 0.0})
    await made.publish()  # with the snapshot, which flushes too
    for volts in (1.0, 2.0, 3.0):
        made.device.values({"voltage": volts})
        await settle()
    assert [change["value"] for change in changes(await made.publish())] == [1.0]
    # no time has passed
    assert [change["value"] for change in changes(await made.publish())] == [2.0, 3.0]


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


async def test_many_changes_are_split_into_messages_of_16_kib():
    made = await bench(many(500))
    made.device.values({f"p{number}": "x" * 200 for number in range(500)})
    sent = await made.publish()
    events = [message for message in sent if message.topic.endswith("event/change")]
    assert 7 <= len(events) <= 16
    assert all(len(message.payload) <= BATCH_BYTES for message in events)
    assert [event["seq"] for event in of(sent, "event/change")] == list(
        range(1, len(events) + 1)
    )
    assert [change["path"] for change in changes(sent)] == [
        f"p{number}" for number in range(500)
    ]


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
    assert made.outbox.dropped == 1  # the change; the leaf is empty


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


async def test_a_value_that_nobody_confirms_goes_stale():
    made = await bench(Description("scpi", by_path([Property("voltage", max_age=5.0)])))
    made.device.values({"voltage": 5.0})
    await made.run(4)
    assert last(await made.run(4), "state")["bad"]["voltage"]["code"] == "stale"


async def test_announce_publishes_everything_again_whatever_the_broker_has():
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


@pytest.mark.parametrize(
    "leave",
    [
        lambda device: device.offline(LinkLost("the plug is out")),
        lambda device: device.set_status("stopped"),
    ],
)
async def test_a_device_that_goes_away_marks_everything_bad(leave):
    made = await bench(
        PSU.with_(properties={**PSU.properties, "_lock": Property("_lock", Any)})
    )
    made.device.online()
    made.device.values({"voltage": 5.0, "mode": "cv", "_lock": None})
    await made.run(2)
    leave(made.device)
    sent = await made.run(2)
    assert last(sent, "status")["state"] in ("offline", "stopped")
    state = last(sent, "state")
    # the last values stay
    assert state["values"] == {"voltage": 5.0, "mode": "cv", "_lock": None}
    assert {path: bad["code"] for path, bad in state["bad"].items()} == {
        "voltage": "offline",
        "mode": "offline",
    }
    assert {change["path"] for change in changes(sent)} == {"voltage", "mode"}


async def test_the_reason_of_an_offline_device_is_told():
    made = await bench()
    made.device.online()
    made.device.values({"voltage": 5.0})
    made.device.offline(LinkLost("the plug is out"))
    sent = await made.run(2)
    assert last(sent, "status")["reason"] == {
        "code": "link",
        "message": "the plug is out",
    }
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


async def test_a_device_that_leaves_removes_every_retained_topic():
    made = await bench()
    made.device.values({"voltage": 5.0, "mode": "cv"})
    await made.run(2)
    made.device.withdraw()
    sent = await made.run(2)
    assert {
        message.topic for message in sent if message.retain and not message.payload
    } == {
        f"busbar/lab/psu/{topic}"
        for topic in ("status", "info", "state", "state/voltage", "state/mode")
    }
    assert all(message.payload == b"" for message in sent)


async def test_a_device_that_left_publishes_nothing_that_was_under_way():
    made = await bench()
    made.device.values({"voltage": 5.0})
    await made.publish()
    made.device.values({"voltage": 6.0})
    made.device.describe(PSU.with_(serial="7"))
    made.device.withdraw()
    assert all(
        message.payload == b"" for message in await made.run(5) if message.retain
    )


async def test_a_device_that_left_does_not_publish_what_was_held_back():
    made = await bench(
        Description("scpi", by_path([Property("voltage", min_interval=5.0)]))
    )
    made.device.values({"voltage": 5.0})
    made.device.values({"voltage": 6.0})
    await made.publish()
    made.device.withdraw()
    await made.publish()
    sent = await made.run(10)
    assert sent == []
