"""The bridge's own status as the broker has it (contract 5)."""

import json

import pytest

from busbar.contract import messages
from busbar.contract.messages import Status
from busbar.mqtt.reconnect import Received
from busbar.runtime.bridge_status import REPAIR, BridgeStatus
from tests.device import Bench, bench, topics

OTHERS = messages.encode(Status("online", None, "0badb007", 0, 0))


async def announced() -> tuple[BridgeStatus, Bench]:
    made = await bench()
    status = BridgeStatus(made.bus, made.device)
    status.announce()
    await made.publish()
    return status, made


def retained(status: BridgeStatus, payload: bytes) -> Received:
    return Received(status.topic, payload, retain=True)


async def test_the_will_is_retained_and_says_that_the_bridge_is_gone():
    status, made = await announced()
    assert status.will.retain
    said = json.loads(status.will.payload)
    assert (said["state"], said["boot"]) == ("offline", made.bus.boot)


@pytest.mark.parametrize("payload", [b"", b"nonsense", OTHERS])
async def test_a_wrong_status_is_repaired_at_most_once_a_second(payload: bytes):
    status, made = await announced()
    await made.run(2 * REPAIR)
    status.on_status(retained(status, payload), connected=True)
    assert topics(await made.run(REPAIR / 2)).count("status") == 1
    status.on_status(retained(status, payload), connected=True)
    assert topics(await made.run(REPAIR / 4)).count("status") == 0
    assert topics(await made.run(REPAIR)).count("status") == 1


async def test_our_own_status_is_not_repaired():
    status, made = await announced()
    own = made.device.status_payload()
    status.on_status(retained(status, own), connected=True)
    assert "status" not in topics(await made.run(2 * REPAIR))


async def test_after_a_reconnect_the_name_is_taken_if_another_has_published_meanwhile():
    status, made = await announced()
    status.begin()
    status.on_status(retained(status, OTHERS), connected=False)
    assert await status.is_taken()
    status.begin()
    own = made.device.status_payload()
    status.on_status(retained(status, own), connected=False)
    assert not await status.is_taken()
