"""The description of a device on the bus, and the values that wait for it (contract
3.2)."""

import json
from typing import Any

import pytest

from busbar.contract.describe import Description, Property, by_path
from busbar.errors import LinkLost
from busbar.mqtt.outbox import Message
from busbar.testing.fakes import settle
from tests.device import bench, changes, last, many, of, topics

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
    assert (last(sent, "info")["revision"], last(sent, "state")["values"]) == (
        2,
        {"a": 1},
    )
    assert of(await made.run(2), "info") == []


async def test_a_new_description_counts_for_the_next_reading():
    made = await bench(SMALL)
    made.device.values({"a": 1.0})
    made.device.describe(
        SMALL.with_(properties=by_path([Property("a", Any, deadband=10.0)]))
    )
    made.device.values({"a": 2.0})
    assert last(await made.run(3), "state")["values"] == {"a": 1.0}


def first_mention(sent: list[Message], path: str) -> tuple[int, int]:
    """Return where a property is first in `info`, and where its first value is."""
    named = valued = len(sent)
    for position, message in reversed(list(enumerate(sent))):
        topic = message.topic.removeprefix("busbar/lab/psu/")
        if topic == "info" and path in json.loads(message.payload)["properties"]:
            named = position
        elif topic == f"state/{path}" or (
            topic != "info" and f'"{path}"'.encode() in message.payload
        ):
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
    assert [(change["path"], change.get("gone")) for change in changes(sent)] == [
        ("b", True)
    ]
    assert last(sent, "state")["values"] == {"a": 1}
    assert [
        message.payload for message in sent if message.topic.endswith("state/b")
    ] == [b""]


FAMILY = Description(
    "cip",
    by_path(
        [
            Property(
                "digital/{join}", bool, parameters={"join": range(1, 9)}, max_age=5.0
            )
        ]
    ),
)


async def test_members_of_a_family_have_values():
    made = await bench(FAMILY)
    made.device.values({"digital/1": True, "digital/8": False})
    assert last(await made.run(2), "state")["values"] == {
        "digital/1": True,
        "digital/8": False,
    }


@pytest.mark.parametrize(
    "after",
    [
        SMALL,
        FAMILY.with_(
            properties=by_path(
                [Property("digital/{join}", bool, parameters={"join": range(1, 2)})]
            )
        ),
    ],
)
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
    assert last(await made.run(0) or made.published, "info")["truncated"] == 40 - len(
        state["values"]
    )
    made.device.values({"p7": 7})
    sent = await made.run(4)
    assert last(sent, "state")["values"] == values | {"p7": 7}
    assert "truncated" not in last(sent, "info")


async def test_an_info_that_does_not_fit_describes_what_fits_and_says_so():
    made = await bench(many(40), limit=1000)
    info = last(made.device.announce() or await made.publish(), "info")
    assert 10 < len(info["properties"]) < 40
    assert list(info["properties"]) == [
        f"p{number}" for number in range(40 - info["truncated"])
    ]
    assert len(json.dumps(info, separators=(",", ":"))) > 850
    made.device.describe(many(10))
    assert "truncated" not in last(await made.run(2), "info")


async def test_a_snapshot_of_which_too_much_is_bad_is_published_all_the_same():
    made = await bench(many(100), limit=6000)
    made.device.bad(
        [f"p{number}" for number in range(100)],
        LinkLost("the other side closed the connection"),
    )
    assert of(await made.run(4), "state")
