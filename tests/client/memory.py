"""A client on a broker in memory.

Beside a toy's bridge, or alone with what the test publishes.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from busbar.client import Client, DeviceView
from busbar.contract import messages
from busbar.contract.messages import ChangeEvent, State, Status
from busbar.mqtt.outbox import Message
from busbar.testing.fakes import Clock, MemoryBus, settle, until
from tests.running import Running, running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"
URL = "mqtt://127.0.0.1"
WALL_CLOCK = "busbar.client.freshness.wall_clock"


@asynccontextmanager
async def lab(
    configuration: str = LAB, **options: Any
) -> AsyncIterator[tuple[Client, DeviceView, Toy, Running]]:
    """A bridge with a toy and a client that knows it."""
    toy = Toy()
    async with running(service(toy), configuration) as bus:
        await bus.value("toy", "level")
        connected = Client(URL, connect=bus.broker.connection, **options)
        with patch(WALL_CLOCK, bus.clock.now):
            async with connected as client:
                await client.wait_online("lab/toy", timeout=20)
                device = client.device("lab/toy")
                known = device.snapshot
                await until(lambda: "level" in known().values, "the first values")
                yield client, device, toy, bus


class Hand:
    """The broker and the bridge in the test's own hand; `toy` is in step at seq 0."""

    def __init__(self) -> None:
        self.bus, self.clock = MemoryBus(), Clock()
        for name in ("bridge", "toy"):
            self.status(name)
            self.info(name)
            # nothing newer can be on its way
            self.state(name, ago=10.0, a=0)

    def status(
        self, name: str = "toy", state: Any = "online", seq: int = 0, boot: str = "b1"
    ) -> None:
        self.retain(name, "status", Status(state, 1.0, boot, 1, seq))

    def info(self, name: str = "toy", **fields: Any) -> None:
        about = {
            "contract": 1,
            "bridge": "lab",
            "device": name,
            "kind": "toy",
            "revision": 1,
            "boot": "b1",
        }
        empty: dict[str, Any] = {
            "properties": {},
            "commands": {},
            "events": {},
            "blobs": {},
        }
        self.retain(name, "info", {**about, **empty, **fields})

    def state(
        self,
        name: str = "toy",
        seq: int = 0,
        boot: str = "b1",
        ago: float = 0.0,
        **values: Any,
    ) -> None:
        time = self.clock.now() - ago
        self.retain(name, "state", State(boot, seq, time, values, {}))

    def change(self, seq: int, boot: str = "b1", **values: Any) -> None:
        changes = [
            messages.Change(path, float(seq), value) for path, value in values.items()
        ]
        event = ChangeEvent(boot, seq, self.clock.now(), changes)
        self.publish("event/change", event)

    def event(self, name: str, seq: int, boot: str = "b1", **fields: Any) -> None:
        self.publish(f"event/{name}", {"boot": boot, "seq": seq, "time": 1.5, **fields})

    def publish(self, path: str, payload: Any, **properties: Any) -> None:
        data = payload if isinstance(payload, bytes) else messages.encode(payload)
        self.bus.publish(f"busbar/lab/toy/{path}", data, **properties)

    def retain(self, name: str, channel: str, payload: Any) -> None:
        data = payload if isinstance(payload, bytes) else messages.encode(payload)
        self.bus.take(Message(f"busbar/lab/{name}/{channel}", data, retain=True))

    def keep(self, channel: str, payload: Any) -> None:
        """The broker retains something that our subscription has not got."""
        topic = f"busbar/lab/toy/{channel}"
        self.bus.retained[topic] = Message(topic, messages.encode(payload), retain=True)

    def answer(self, result: Any) -> None:
        """Answer the newest command."""
        message = self.commands()[-1]
        sent = json.loads(message.payload)
        _, bridge, device, target = message.topic.split("/", 3)
        about = {"bridge": bridge, "device": device, "target": target}
        outcome = {"ok": True, "result": result, "time": 1.0, "took": 0.1}
        reply = {"id": sent["_id"], **about, **outcome}
        self.bus.publish(sent["_reply"], messages.encode(reply))

    def commands(self) -> list[Message]:
        return [
            each
            for each in self.bus.published
            if "/set" in each.topic or "/call/" in each.topic
        ]


@asynccontextmanager
async def hand(**options: Any) -> AsyncIterator[tuple[Client, DeviceView, Hand]]:
    made = Hand()
    connected = Client(URL, connect=made.bus.connection, **options)
    with patch(WALL_CLOCK, made.clock.now):
        async with connected as client:
            device = client.device("lab/toy")
            await settle()
            yield client, device, made
