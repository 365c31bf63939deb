"""Sections 2 and 3.5: where outcomes go, sizes, the properties of MQTT 5."""

import json

import pytest

from busbar.testing.fakes import until
from tests.contract.client import Client, code
from tests.contract.subject import Subject
from tests.watcher import Seen

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.section("2"),
    pytest.mark.section("3.5"),
]


def on(client: Client, topic: str, id_: str) -> list[Seen]:
    return [each for each in client.on(topic) if each.json["id"] == id_]


async def test_the_outcome_goes_to_the_private_topic_too(
    subject: Subject, client: Client
) -> None:
    topic = "busbar/reply/suite/1"
    public = await client.ask(
        subject.device, f"set/{subject.number}", {"_value": 2, "_reply": topic}
    )
    await until(lambda: on(client, topic, public["id"]), "the private reply")
    assert on(client, topic, public["id"])[0].json == public


async def test_a_large_result_goes_only_to_the_private_topic(
    subject: Subject, client: Client
) -> None:
    target, fields = subject.large
    topic = "busbar/reply/suite/2"
    public = await client.ask(subject.device, target, {**fields, "_reply": topic})
    assert "result" not in public
    assert public["size"] > 4096
    await until(lambda: on(client, topic, public["id"]), "the private reply")
    assert len(json.dumps(on(client, topic, public["id"])[0].json["result"])) > 4096
    alone = await client.ask(subject.device, target, fields)
    assert len(json.dumps(alone["result"])) > 4096


@pytest.mark.needs("mqtt5")
async def test_response_topic_counts_unless_the_payload_has_one(
    subject: Subject, client: Client
) -> None:
    number, topics = (
        f"set/{subject.number}",
        ["busbar/reply/suite/3", "busbar/reply/suite/4"],
    )
    first = await client.ask(
        subject.device, number, {"_value": 2}, response=topics[0], correlation=b"mine"
    )
    await until(
        lambda: on(client, topics[0], first["id"]), "the reply on the Response Topic"
    )
    both = await client.ask(
        subject.device, number, {"_value": 2, "_reply": topics[1]}, response=topics[0]
    )
    await until(lambda: on(client, topics[1], both["id"]), "the reply on `_reply`")
    assert not on(client, topics[0], both["id"])
    assert (
        code(
            await client.ask(
                subject.device, number, {"_value": 2}, response="else/where"
            )
        )
        == "forbidden"
    )
    own = f"{subject.base}{subject.device}/reply"
    same = await client.ask(subject.device, number, {"_value": 2}, response=own)
    assert len(on(client, own, same["id"])) == 1


async def test_a_command_of_the_largest_size_is_taken(
    subject: Subject, client: Client
) -> None:
    padding = " " * (256 * 1024 - len('{"_value":3}'))
    assert (
        code(
            await client.ask(
                subject.device, f"set/{subject.number}", f'{{"_value":{padding}3}}'
            )
        )
        == "ok"
    )
    too_much = await client.ask(
        subject.device, f"set/{subject.number}", f'{{"_value":{padding} 3}}'
    )
    assert code(too_much) == "too_large"


async def test_the_bridge_lists_its_devices(subject: Subject, client: Client) -> None:
    rows = {
        row["device"]: row
        for row in (await client.ask("bridge", "call/list", {}))["result"]
    }
    assert {subject.device, subject.neighbour} <= rows.keys()
    assert rows[subject.device]["status"] == "online"
    assert rows[subject.device]["locked_by"] is None
