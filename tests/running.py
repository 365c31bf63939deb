"""A bridge in this process on a broker in memory, and a client beside it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from busbar.config import loader
from busbar.contract import messages
from busbar.mqtt.outbox import Message
from busbar.runtime.bridge import Bridge
from busbar.runtime.bridge_spec import BridgeSpec
from busbar.runtime.service import Service, plan
from busbar.testing.fakes import Clock, MemoryBus, until

EMPTY: Mapping[str, bytes] = MappingProxyType({})
STOPPING = 30.0  # s; generous, only a bridge that does not stop needs it


class Running:
    """What a client sees of a bridge; `configuration` is what `reload` finds."""

    def __init__(
        self, service: Service, configuration: str, broker: MemoryBus | None = None
    ) -> None:
        self.broker, self.clock = broker or MemoryBus(), Clock()
        self.configuration = configuration
        self._service = service
        self._numbers = itertools.count(1)
        first = self.plan()
        self.base = f"{first.root}/{first.name}"
        self.bridge = Bridge(
            first, self.plan, self.clock.now, lambda: True, self.broker.connection
        )

    def plan(self) -> BridgeSpec:
        """Return what the configuration asks for; raise ConfigError."""
        return plan(
            self._service,
            loader.parse(self.configuration, self._service.config, {}),
            None,
            {},
        )

    async def call(
        self, device: str, command: str, payload: Any = "{}", **properties: Any
    ) -> dict[str, Any]:
        """Run a command and return its outcome.

        `properties` are those of MQTT 5, see mqtt.Received.
        """
        return await self._outcome(device, f"call/{command}", payload, properties)

    async def set(
        self, device: str, path: str, payload: Any, **properties: Any
    ) -> dict[str, Any]:
        """Write one property, or with path "" several, and return the outcome."""
        return await self._outcome(
            device, f"set/{path}" if path else "set", payload, properties
        )

    async def value(
        self, device: str, path: str, fits: Callable[[Any], Any] = lambda value: True
    ) -> Any:
        """Wait until a property is good and its value fits; return the value."""
        await until(
            lambda: path in self.good(device) and fits(self.good(device)[path]),
            f"{device}/{path} that fits",
        )
        return self.good(device)[path]

    async def bad(self, device: str, path: str, code: str) -> str:
        """Wait until a property is bad for this reason; return the message."""
        await until(
            lambda: self.faults(device).get(path, {}).get("code") == code,
            f"{device}/{path} bad: {code}",
        )
        return str(self.faults(device)[path]["message"])

    async def status(self, device: str, state: str) -> dict[str, Any]:
        """Wait until a device has this availability; return all of its status."""
        await until(
            lambda: (self.retained(device, "status") or {}).get("state") == state,
            f"{device} {state}",
        )
        return dict(self.retained(device, "status"))

    async def info(self, device: str, fits: Callable[[Any], Any]) -> dict[str, Any]:
        """Wait until the description of a device fits; return it."""
        await until(
            lambda: (info := self.retained(device, "info")) and fits(info),
            f"{device}/info that fits",
        )
        return dict(self.retained(device, "info"))

    def good(self, device: str) -> dict[str, Any]:
        """Return the values that are not bad, as the changes so far tell."""
        values: dict[str, Any] = {}
        for change in self.changes(device):
            if "value" in change:
                values[change["path"]] = change["value"]
            if change.get("gone") or change.get("bad"):
                values.pop(change["path"], None)
        return values

    def faults(self, device: str) -> dict[str, Any]:
        """Return what is bad and why, as the changes so far tell."""
        faults: dict[str, Any] = {}
        for change in self.changes(device):
            if "bad" in change:
                faults[change["path"]] = change["bad"]
        return {path: fault for path, fault in faults.items() if fault}

    def changes(self, device: str) -> list[dict[str, Any]]:
        """Return all transitions so far, in order."""
        return [
            change
            for event in self.events(device, "change")
            for change in event["changes"]
        ]

    def events(self, device: str, name: str) -> list[dict[str, Any]]:
        """Return the events of one name so far, in order."""
        return [
            json.loads(payload)
            for payload in self.broker.payloads(f"{self.base}/{device}/event/{name}")
        ]

    def retained(self, device: str, channel: str) -> Any:
        """Return what is retained on a channel of a device, None if nothing is."""
        message = self.broker.retained.get(f"{self.base}/{device}/{channel}")
        return json.loads(message.payload) if message else None

    async def _outcome(
        self, device: str, target: str, payload: Any, properties: dict[str, Any]
    ) -> dict[str, Any]:
        mark = b"%d" % next(self._numbers)
        before = len(self.broker.published)
        data = payload if isinstance(payload, str | bytes) else messages.encode(payload)
        self.broker.publish(
            f"{self.base}/{device}/{target}",
            data,
            **{"correlation": mark, **properties},
        )
        topic = f"{self.base}/{device}/reply"

        def found() -> Message | None:
            new = itertools.islice(self.broker.published, before, None)
            return next(
                (
                    each
                    for each in new
                    if each.topic == topic and each.correlation == mark
                ),
                None,
            )

        await until(found, f"the outcome of {device}/{target}")
        reply = found()
        assert reply is not None
        return dict(json.loads(reply.payload))


@asynccontextmanager
async def running(
    service: Service,
    configuration: str,
    left: Mapping[str, bytes] = EMPTY,
    broker: MemoryBus | None = None,
) -> AsyncIterator[Running]:
    """Run a bridge.

    Entered = it has announced its devices, left = it has stopped cleanly.

    `left`: what the broker retains of a process before, topic -> payload.
    """
    bus = Running(service, configuration, broker)
    for topic, payload in left.items():
        bus.broker.retained[topic] = Message(topic, payload, retain=True)
    task = asyncio.create_task(bus.bridge.run(), name="bridge under test")
    try:
        await until(
            lambda: bus.bridge.connected.is_set() or task.done(), "the announcement"
        )
        yield bus
    finally:
        bus.bridge.stop()
        async with asyncio.timeout(STOPPING):
            await task
