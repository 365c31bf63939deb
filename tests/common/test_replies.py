"""Outcomes on their way out (contract 3.5)."""

import asyncio
import json

import pytest

from busbar.command.replies import PUBLIC_RESULT, Replies
from busbar.command.request import Request
from busbar.contract.messages import Metadata
from busbar.errors import Forbidden, LinkLost
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received
from tests.device import Bench, bench

PUBLIC = "busbar/lab/psu/reply"
PRIVATE = "busbar/reply/me"


def request(reply: str | None = None, correlation: bytes | None = None) -> Request:
    received = Received(
        "busbar/lab/psu/call/go",
        b"{}",
        retain=False,
        response_topic=reply,
        correlation=correlation,
    )
    began = asyncio.get_running_loop().time()
    return Request(received, "psu", "call/go", began, Metadata(id="a"))


async def sent(made: Bench, asked: Request, result: object) -> dict[str, Message]:
    replies = Replies(made.bus)
    replies.choose_topic(asked)
    replies.send(asked, replies.build(asked, result, None))
    return {message.topic: message for message in await made.publish()}


async def test_a_reply_goes_to_the_device_and_to_the_topic_of_the_caller():
    out = await sent(await bench(), request(PRIVATE, b"c"), 5)
    assert out.keys() == {PUBLIC, PRIVATE}
    for message in out.values():
        assert message.correlation == b"c"
        assert json.loads(message.payload)["result"] == 5
        assert json.loads(message.payload)["id"] == "a"


async def test_a_large_result_goes_to_the_caller_only():
    large = "x" * (PUBLIC_RESULT + 1)
    out = await sent(await bench(), request(PRIVATE), large)
    assert json.loads(out[PRIVATE].payload)["result"] == large
    public = json.loads(out[PUBLIC].payload)
    assert "result" not in public
    assert public["size"] == len(out[PRIVATE].payload)


async def test_a_result_that_no_message_can_hold_becomes_an_error():
    out = await sent(await bench(limit=4000), request(), "x" * 5000)
    reply = json.loads(out[PUBLIC].payload)
    assert not reply["ok"]
    assert reply["error"]["code"] == "too_large"


async def test_an_error_takes_the_place_of_the_result():
    replies = Replies((await bench()).bus)
    reply = replies.build(request(), 5, LinkLost("unplugged"))
    assert not reply.ok
    assert reply.error.code == "link"
    assert "unplugged" in reply.error.message


async def test_no_reply_goes_to_a_topic_that_is_no_reply_topic():
    with pytest.raises(Forbidden):
        Replies((await bench()).bus).choose_topic(request("busbar/lab/psu/status"))
