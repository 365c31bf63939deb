"""The reconnect loop of the MQTT connection (contract 5)."""

import asyncio
import logging

import pytest

from busbar.mqtt.reconnect import DELAYS, BrokerLost, stay_connected
from busbar.testing.fakes import Clock


async def test_it_tries_again_until_it_is_served_and_warns_once_of_one_reason(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.WARNING, "busbar.broker")
    attempts = 0

    async def connect() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise BrokerLost("refused")

    connecting = asyncio.create_task(stay_connected(connect))
    await Clock().advance(5 * DELAYS.most)
    await asyncio.wait_for(connecting, 5)
    assert attempts == 5
    assert caplog.messages == ["refused"]


async def test_any_other_error_ends_it():
    async def connect() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await stay_connected(connect)
