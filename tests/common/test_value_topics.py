"""The leaves of a device: the retained topic of each value (contract 1, 3.3)."""

import pytest

from busbar.publish.change_rate import LIMIT, WINDOW
from busbar.publish.value_topics import PACE
from busbar.testing.fakes import settle
from tests.device import bench, changes, last, many, of, topics


async def test_a_property_that_goes_takes_its_leaf_along():
    made = await bench()
    made.device.values({"voltage": 5.0, "current": 1.0})
    await made.run(2)
    made.device.gone(["voltage"])
    sent = await made.run(2)
    assert [
        message.payload for message in sent if message.topic.endswith("state/voltage")
    ] == [b""]
    assert [(change["path"], change["gone"]) for change in changes(sent)] == [
        ("voltage", True)
    ]
    assert last(sent, "state")["values"] == {"current": 1.0}


async def test_leaves_are_for_the_chosen_properties():
    made = await bench(leaf=lambda path: path == "mode")
    made.device.values({"voltage": 5.0, "mode": "cv"})
    assert [
        topic for topic in topics(await made.run(2)) if topic.startswith("state/")
    ] == ["state/mode"]
    made.device.gone(["voltage", "mode"])
    assert [
        topic for topic in topics(await made.run(2)) if topic.startswith("state/")
    ] == ["state/mode"]


async def test_a_leaf_has_the_newest_value_when_the_broker_is_slow():
    made = await bench()
    for volts in (1.0, 2.0, 3.0):
        made.device.values({"voltage": volts})
        await settle()
    sent = await made.publish()
    assert [
        message.payload for message in sent if message.topic.endswith("state/voltage")
    ] == [b"3.0"]
    # every transition, in order
    assert [change["value"] for change in changes(sent)] == [1.0, 2.0, 3.0]


async def test_a_leaf_comes_five_times_a_second_when_there_are_very_many_changes():
    made = await bench()
    pauses = 0.005
    for number in range(round(1.2 / pauses)):
        made.device.values({"voltage": number / 1000})
        made.bus.pace.count(round(2 * LIMIT * pauses))  # of others
        await made.publish()
        await made.clock.advance(pauses)
    leaves = of(made.published, "state/voltage")
    # at first nobody knows how many it will be
    assert 4 <= len(leaves) <= 1.2 / PACE + WINDOW / pauses
    await made.clock.advance(PACE)
    # the last one in any case
    assert of(await made.publish(), "state/voltage") == [number / 1000]


@pytest.mark.parametrize(("count", "seconds"), [(100, 60), (101, 600)])
async def test_leaves_are_repeated_every_minute_or_every_ten_where_there_are_many(
    count, seconds
):
    made = await bench(many(count))
    made.device.values({f"p{number}": number for number in range(count)})
    await made.run(2)
    made.clock._loop.shift += seconds - 10
    assert "state/p0" not in topics(await made.run(2))
    sent = await made.run(12)
    assert topics(sent).count("state/p0") == 1
    assert sum(topic.startswith("state/") for topic in topics(sent)) == count


async def test_a_property_that_comes_and_goes_in_one_moment_leaves_nothing():
    made = await bench()
    made.device.values({"voltage": 1.0})
    made.device.gone(["voltage"])
    await made.publish()
    assert made.device._leaves._payloads == {}


async def test_a_value_that_does_not_fit_leaves_no_older_one_behind():
    made = await bench()
    leaves = []
    made.bus.outbox.lower(3000)
    for mode in ("cv", "x" * 5000, "cc"):
        made.device.values({"mode": mode})
        for message in await made.run(2):
            if message.topic.endswith("state/mode"):
                leaves.append(message.payload)
    assert leaves == [b'"cv"', b"", b'"cc"']
