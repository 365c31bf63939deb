"""The client as a reader of the contract: message by message, what it may believe."""

import asyncio
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from busbar.client.dispatcher import Dispatcher
from busbar.client.tracked_device import TrackedDevice
from busbar.contract import messages
from busbar.mqtt.reconnect import Received
from busbar.testing.fakes import ShiftingLoop, settle
from tests.client.memory import WALL_CLOCK

FILE = Path(__file__).parents[1] / "contract" / "reader_vectors.json"
FOUND = json.loads(FILE.read_text())
VECTORS: list[dict[str, Any]] = FOUND["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=[each["name"] for each in VECTORS])
async def test_the_client_believes_what_the_contract_says(vector: dict[str, Any]):
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShiftingLoop)
    start = loop.time()
    with patch(WALL_CLOCK, lambda: FOUND["clock"] + loop.time() - start):
        dispatcher = _dispatcher()
        for step in vector["steps"]:
            loop.shift += max(0.0, start + step["at"] - loop.time())
            await settle()
            dispatcher.tick()
            if "topic" in step:
                payload = _payload(step["payload"])
                dispatcher.take(Received(step["topic"], payload, step["retain"]))
            for name, expected in step.get("expect", {}).items():
                assert _picture(dispatcher.track(name)) == expected, step


def _dispatcher() -> Dispatcher:
    """A dispatcher that is connected."""

    def ignore(*_: Any) -> None:
        pass

    dispatcher = Dispatcher("busbar", ignore, ignore, ignore, ignore)
    dispatcher.take_connection(None)
    return dispatcher


def _payload(given: Any) -> bytes:
    if isinstance(given, str):
        return given.encode()
    return messages.encode(given)


def _picture(tracked: TrackedDevice) -> dict[str, Any]:
    why = tracked.why()
    code = None
    if why is not None:
        # a gap that nobody has missed anything by
        code = why.code.replace("joining", "gap")
    good = {}
    for path, value in tracked.values.items():
        if tracked.why(path) is None:
            good[path] = value
    return {"why": code, "good": good}
