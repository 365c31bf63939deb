"""A process under measurement.

`python -m tests.bench.subject ROLE URL LOAD` prints what it has measured as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from busbar.contract import messages
from busbar.contract.messages import Change, ChangeEvent
from tests.bench.bridge import Produced, quiet, serving
from tests.bench.load import Load, Publish, Stream

SETTLE = 0.3  # s after the start, for whatever is still under way


async def phases(
    load: Load, publish: Publish, done: Callable[[], Awaitable[None]]
) -> dict[str, float]:
    """Return the CPU time (s) of one value, less that of the same loop without
    publishing (the quieter of two)."""
    stream, spent = Stream(load), []
    for sink, seconds in (
        (_nowhere, load.seconds / 2),
        (publish, load.seconds),
        (_nowhere, load.seconds / 2),
    ):
        began = time.process_time()
        count = await stream.run(sink, seconds)
        await done()
        spent.append((time.process_time() - began) / count)
    before, with_, after = spent
    return {"cpu": with_ - min(before, after)}


def _nowhere(_device: str, _readings: dict[str, float]) -> None:
    pass


async def bridge(url: str, load: Load) -> dict[str, float]:
    """The runtime of a bridge on a link that produces values."""
    async with serving(url, load) as (running, session):
        await _first_values(running, session, load)
        return await phases(load, session.publish, lambda: quiet(running))


async def flow(url: str, load: Load) -> dict[str, float]:
    """The same without phases: values for a subscriber elsewhere."""
    async with serving(url, load) as (running, session):
        await _first_values(running, session, load)
        return {"values": await Stream(load).run(session.publish, load.seconds)}


async def _first_values(running: Any, session: Produced, load: Load) -> None:
    for device, readings in Stream(load).everything():
        session.publish(device, readings)
    await quiet(running)
    await asyncio.sleep(SETTLE)


async def stock(url: str, load: Load) -> dict[str, float]:
    """Stock paho with its thread.

    One message of QoS 0 for each value, with the payload that `event/change` has.
    """
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.loop_start()
    last: list[paho.MQTTMessageInfo] = []

    def publish(device: str, readings: dict[str, float]) -> None:
        now = round(time.time(), 6)
        for path, value in readings.items():
            payload = messages.encode(
                ChangeEvent("9f2c61aa", 812, now, [Change(path, now, value)])
            )
            last[:] = [client.publish(f"busbar/stock/{device}/event/change", payload)]

    async def written() -> None:
        while last and not last[0].is_published():  # noqa: ASYNC110  # paho tells only a thread
            await asyncio.sleep(0.05)

    await asyncio.sleep(SETTLE)
    costs = await phases(load, publish, written)
    client.disconnect()
    client.loop_stop()
    return costs


ROLES = {"bridge": bridge, "flow": flow, "stock": stock}


def main(role: str, url: str, load: str) -> None:
    print(json.dumps(asyncio.run(ROLES[role](url, Load(**json.loads(load))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
