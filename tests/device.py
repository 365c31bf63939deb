"""One device with its outbox in place of the broker, and the clock."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from busbar.contract.describe import Description, Property, by_path
from busbar.contract.topics import Topics
from busbar.mqtt.outbox import Message, Outbox
from busbar.publish.change_rate import ChangeRate
from busbar.publish.device import BridgeContext, DevicePublisher
from busbar.testing.fakes import Clock, settle

PSU = Description(
    "scpi",
    by_path(
        [
            Property("voltage"),
            Property("current"),
            Property("mode", str),
            Property("wave", list[float]),
        ]
    ),
    name="Bench supply",
)


@dataclass
class Bench:
    """A device, its outbox in place of the broker, and the clock."""

    clock: Clock
    outbox: Outbox
    bus: BridgeContext
    device: DevicePublisher
    published: list[Message] = field(default_factory=list)

    async def publish(self) -> list[Message]:
        """Let everything be sent and acknowledged; return it."""
        await settle()
        sent = list(iter(self.outbox.pull, None))
        for message in sent:
            self.outbox.delivered(message)
        self.published += sent
        return sent

    async def run(self, seconds: float, step: float = 0.25) -> list[Message]:
        """Let time pass, with a tick every second; return what was published."""
        sent = []
        for number in range(int(seconds / step)):
            await self.clock.advance(step)
            if number * step % 1 == 0:
                self.device.tick()
            sent += await self.publish()
        return sent


async def bench(
    description: Description = PSU,
    *,
    limit: int = 1024 * 1024,
    folder: Path | None = None,
    leaf: Callable[[str], bool] = lambda path: True,
    announced: bool = True,
) -> Bench:
    clock = Clock()
    outbox, pace = Outbox(limit), ChangeRate(asyncio.get_running_loop().time)
    bus = BridgeContext(
        Topics("busbar", "lab"),
        outbox,
        outbox,
        pace,
        "9f2c61aa",
        leaf,
        clock.now,
        folder,
    )
    made = Bench(
        clock,
        outbox,
        bus,
        DevicePublisher(bus, "psu", description, lambda described: described),
    )
    if announced:
        made.device.announce()
        await made.publish()
        made.published.clear()
    return made


def many(count: int) -> Description:
    return Description(
        "scpi", by_path(Property(f"p{number}", Any) for number in range(count))
    )


def of(sent: list[Message], channel: str) -> list[Any]:
    return [
        json.loads(message.payload)
        for message in sent
        if message.topic == f"busbar/lab/psu/{channel}"
    ]


def topics(sent: list[Message]) -> list[str]:
    return [message.topic.removeprefix("busbar/lab/psu/") for message in sent]


def changes(sent: list[Message]) -> list[dict[str, Any]]:
    return [change for event in of(sent, "event/change") for change in event["changes"]]


def last(sent: list[Message], channel: str) -> Any:
    return of(sent, channel)[-1]
