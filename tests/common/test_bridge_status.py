"""The bridge's own status as the broker has it (contract 5)."""

import asyncio
import json

from busbar.contract import messages
from busbar.contract.messages import Status
from busbar.mqtt.outbox import Outbox
from busbar.mqtt.reconnect import Received
from busbar.runtime.bridge_status import PATIENCE, QUESTIONS, BridgeStatus
from busbar.runtime.name_claim import Verdict
from tests.device import Bench, bench

OTHERS = messages.encode(Status("online", 4e9, "0badb007", 0, 0))


async def served() -> tuple[BridgeStatus, Bench]:
    made = await bench()
    status = BridgeStatus(made.bus, made.device)
    await status.look()
    return status, made


async def doubtful() -> tuple[BridgeStatus, Bench]:
    """Return one that has found the status of a newer process."""
    status, made = await served()
    status.begin()
    status.on_status(Received(status.topic, OTHERS, retain=True))
    await status.look()
    return status, made


async def test_the_will_is_retained_and_says_that_the_bridge_is_gone():
    status, made = await served()
    assert status.will.retain
    said = json.loads(status.will.payload)
    assert (said["state"], said["boot"]) == ("offline", made.bus.boot)


async def test_it_waits_only_a_moment_for_what_the_broker_has_lost():
    status, made = await served()
    status.begin()
    looking = asyncio.create_task(status.look())
    await made.clock.advance(1)
    assert looking.done()
    assert status.verdict is Verdict.SERVE


async def test_what_is_cleared_or_nonsense_is_no_status():
    status, made = await served()
    status.begin()
    for payload in (b"", b"nonsense", b"{}"):
        status.on_status(Received(status.topic, payload, retain=True))
    looking = asyncio.create_task(status.look())
    await made.clock.advance(1)
    assert looking.done()
    assert status.verdict is Verdict.SERVE


async def test_a_question_is_asked_again_and_again_and_is_never_retained():
    status, made = await doubtful()
    outbox = Outbox()
    asking = asyncio.create_task(status.ask(outbox))
    await made.clock.advance(PATIENCE + 1)
    assert asking.done()
    sent = list(iter(outbox.pull, None))
    assert len(sent) >= PATIENCE / QUESTIONS - 1
    assert not any(message.retain for message in sent)
    said = [json.loads(message.payload) for message in sent]
    assert {each["boot"] for each in said} == {made.bus.boot}
    status.give_up()
    assert status.verdict is Verdict.SERVE


async def test_two_answers_are_enough():
    status, made = await doubtful()
    asking = asyncio.create_task(status.ask(Outbox()))
    for _ in range(2):
        assert status.verdict is Verdict.ASK
        await made.clock.advance(QUESTIONS)
        status.on_status(Received(status.topic, OTHERS, retain=False))
    assert status.verdict is Verdict.LEAVE
    await made.clock.advance(QUESTIONS)
    assert asking.done()
    status.give_up()
    assert status.verdict is Verdict.LEAVE
