"""Events of a device (contract 3.3)."""

import msgpack
import pytest

from busbar.contract.describe import Event
from tests.device import PSU, bench, changes, last, many, of, topics


async def test_events_are_counted_by_topic():
    made = await bench()
    for name in ("trip", "trip", "key", "trip"):
        made.device.event(name, {"level": 3}, time=5.0)
    sent = await made.publish()
    assert of(sent, "event/trip") == [
        {"boot": "9f2c61aa", "seq": seq, "time": 5.0, "level": 3} for seq in (1, 2, 3)
    ]
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
    assert msgpack.unpackb(message.payload) == {
        "boot": "9f2c61aa",
        "seq": 1,
        "time": 5.0,
        "data": b"\x00\xff",
    }


async def test_an_event_that_fills_the_room_of_a_device_fits():
    made = await bench(limit=1000)
    made.device.event("trip", {"text": "x" * (made.device.room - len('"text":"",'))})
    assert "event/trip" in topics(await made.run(2))
    assert made.outbox.dropped == 0
    assert 600 < made.device.room < 1000


@pytest.mark.parametrize("value", ["\ud800", 1j, {"deep": ["\udcff"]}])
async def test_a_value_that_json_cannot_say_is_null_and_bad_and_costs_no_other(value):
    made = await bench(many(3))
    made.device.values({"p0": 1.0, "p1": value, "p2": 2.0})
    sent = await made.run(2)
    told = {change["path"]: change for change in changes(sent)}
    assert {path: change["value"] for path, change in told.items()} == {
        "p0": 1.0,
        "p1": None,
        "p2": 2.0,
    }
    assert told["p1"]["bad"]["code"] == "not_a_number"
    state = last(sent, "state")
    assert (state["seq"], state["values"]) == (1, {"p0": 1.0, "p1": None, "p2": 2.0})
    assert list(state["bad"]) == ["p1"]
    made.device.values({"p1": 3.0})
    assert last(await made.run(2), "state")["bad"] == {}
