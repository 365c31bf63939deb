"""A bridge in this process on a real broker, a reader that keeps count, and time that
passes without waiting."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from paho.mqtt import client as paho

from busbar.config import loader
from busbar.errors import BY_CODE
from busbar.mqtt.outbox import Message
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import Service, plan
from busbar.testing.fakes import Clock, until
from tests.broker import Mosquitto
from tests.proxy import Proxy
from tests.toy import Toy, service
from tests.watcher import MARK, Watcher

LAB = "bridge: {name: lab}\n"
TOY = "busbar/lab/toy"
BRIDGE = "busbar/lab/bridge"
BEEP = f"{TOY}/event/beep"
ALLOWED = {*BY_CODE} - {"internal"}  # why a command may fail; the other one is our bug
OUTSTANDING = 500  # commands at once
STOPPING = 30.0  # s; generous, only a bridge that does not stop needs it


class Client(Watcher):
    """A watcher that leaves nothing to the garbage collector, who may come for a socket
    before its owner."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        self._client._reset_sockets()


class Reader(Client):
    """A watcher that knows the newest message of each topic and which events are
    missing."""

    def __init__(self, port: int, *filters: str, protocol: int = paho.MQTTv5) -> None:
        super().__init__(port, *filters, protocol=protocol)
        self.newest: dict[str, bytes] = {}
        self.seqs: dict[str, list[int]] = defaultdict(list)

    def _on_message(
        self, client: Any, userdata: Any, message: paho.MQTTMessage
    ) -> None:
        super()._on_message(client, userdata, message)
        self.newest[message.topic] = bytes(message.payload)
        if "/event/" in message.topic:
            self.seqs[message.topic].append(json.loads(message.payload)["seq"])

    def say(self, topic: str) -> Any:
        """The newest payload of a topic as JSON, None if there is none."""
        payload = self.newest.get(topic)
        return json.loads(payload) if payload else None

    def value(self, path: str, device: str = TOY) -> Any:
        return (self.say(f"{device}/state") or {}).get("values", {}).get(path)

    def online(self, device: str = TOY) -> bool:
        bridge = device.rpartition("/")[0] + "/bridge"
        return all(
            (self.say(f"{each}/status") or {}).get("state") == "online"
            for each in (device, bridge)
        )

    def missing(self, topic: str) -> set[int]:
        """Gaps in the sequence numbers of a topic (of one boot, from its start)."""
        seen = set(self.seqs[topic])
        return set(range(1, max(seen, default=0) + 1)) - seen

    @property
    def gaps(self) -> int:
        """Events that are missing on all topics."""
        return sum(len(self.missing(topic)) for topic in list(self.seqs))


class Tally(Client):
    """Counts outcomes by code and keeps nothing else, so that a million fit.

    `strange` are topics that are not ours.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port, "#")
        self._client.max_inflight_messages_set(OUTSTANDING)
        # all of them: no thread sees a dict that grows
        self._codes = Counter(dict.fromkeys((*BY_CODE, "ok"), 0))
        self.strange: set[str] = set()

    @property
    def codes(self) -> Counter[str]:
        return +self._codes

    @property
    def total(self) -> int:
        return self._codes.total()

    def _on_message(
        self, client: Any, userdata: Any, message: paho.MQTTMessage
    ) -> None:
        levels = message.topic.split("/")
        if levels[:2] == ["busbar", "lab"]:
            if levels[3:] == ["reply"]:
                reply = json.loads(message.payload)
                self._codes["ok" if reply["ok"] else reply["error"]["code"]] += 1
        elif levels[:2] != ["busbar", "reply"]:
            self.strange.add(message.topic)


class Live:
    """A bridge that runs in this process.

    `acknowledged` are the (topic, seq) of events that the broker took.
    """

    def __init__(self, bridge: Bridge, clock: Clock) -> None:
        self.bridge, self.clock = bridge, clock
        self.outbox = bridge._context.outbox
        self.emitted: Counter[str] = Counter()  # events by topic
        self.acknowledged: set[tuple[str, int]] = set()
        self.expected: tuple[type[Exception], ...] = ()  # how it may end
        self._put, self._delivered = self.outbox.put, self.outbox.delivered
        self.outbox.put, self.outbox.delivered = self._count, self._note  # type: ignore[method-assign]
        self.task = asyncio.create_task(bridge.run(), name="bridge under test")

    def _count(self, message: Message) -> None:
        if "/event/" in message.topic:
            self.emitted[message.topic] += 1
        self._put(message)

    def _note(self, message: Message) -> None:
        if "/event/" in message.topic and not message.content_type:
            self.acknowledged.add((message.topic, json.loads(message.payload)["seq"]))
        self._delivered(message)

    @property
    def dropped(self) -> int:
        return self.outbox.dropped

    def missing(self, reader: Reader) -> int:
        """Events that a reader, there from the start, does not have.

        A gap does not show those that were the last.
        """
        return sum(
            count - len(set(reader.seqs[topic]))
            for topic, count in self.emitted.items()
        )

    @property
    def reconnects(self) -> int:
        return int(self.bridge.stats()["reconnects"])

    @property
    def quiet(self) -> bool:
        """Everything has been sent and acknowledged."""
        link = self.bridge._broker._connection
        return self.outbox.empty and link is not None and not link._in_flight

    async def until(
        self, condition: Callable[[], Any], what: str, limit: float = 30.0
    ) -> None:
        """Wait for a condition; the end of the bridge ends the wait."""
        await until(lambda: self.task.done() or condition(), what, limit)
        if self.task.done() and not condition():
            await self.task
            raise AssertionError(f"the bridge ended before {what}")

    async def settled(self, reader: Reader) -> None:
        """Wait until everything has been acknowledged and a reader has it."""
        await self.until(lambda: self.quiet, "quiet")
        await reader.abreast()

    async def pass_until(
        self, reader: Reader, condition: Callable[[], Any], what: str, limit: int = 120
    ) -> float:
        """Let time pass, at most so many seconds, until a condition holds for a reader.

        Return how much (s).
        """
        for second in range(limit):
            await reader.abreast()
            if condition():
                return float(second)
            await self.pass_time(1)
        raise AssertionError(f"{what} did not come true within {limit} s")

    async def pass_time(self, seconds: float) -> None:
        """Let time pass while connected.

        The broker, which lives in real time, answers each second's messages.
        """
        for _ in range(round(seconds)):
            await self.clock.advance(1.0)
            if self.bridge.connected.is_set():
                await self.until(
                    lambda: self.quiet or not self.bridge.connected.is_set(), "quiet"
                )

    async def stop(self) -> None:
        """End it cleanly; raise what it ended with unless that was expected."""
        self.bridge.stop()
        done, _ = await asyncio.wait([self.task], timeout=STOPPING)
        assert done, "the bridge does not stop"
        error = self.task.exception()
        if error is not None and not isinstance(error, self.expected):
            raise error


@asynccontextmanager
async def live(
    what: Service,
    url: str,
    configuration: str = LAB,
    *,
    synchronised: bool = True,
    connects: bool = True,
    step: float = 0.0,
    **endpoint: Any,
) -> AsyncIterator[Live]:
    """Run a bridge; entered = connected unless it cannot, left = stopped.

    `step`: how wrong its clock is (s); `endpoint`: fields of its Endpoint.
    """
    clock = Clock()
    clock.step_wall = step
    first = plan(
        what, loader.parse(configuration, what.config, {}, folder=Path("/")), url, {}
    )
    first = replace(first, endpoint=replace(first.endpoint, **endpoint))
    one = Live(Bridge(first, None, clock.now, lambda: synchronised), clock)
    try:
        if connects:
            await one.until(one.bridge.connected.is_set, "the connection")
        yield one
    finally:
        await one.stop()


class Lab:
    """A toy on a live bridge that reaches the broker through a proxy, and a reader
    beside it."""

    def __init__(
        self, broker: Mosquitto, proxy: Proxy, reader: Reader, toy: Toy, one: Live
    ) -> None:
        self.broker, self.proxy, self.reader, self.toy, self.live = (
            broker,
            proxy,
            reader,
            toy,
            one,
        )

    @property
    def outlet(self) -> Any:
        return self.toy.sessions[0].outlet

    @property
    def connected(self) -> bool:
        return self.live.bridge.connected.is_set()

    async def burst(self, count: int, begin: int = 0, size: int = 10) -> None:
        """Emit numbered events, `size` for each turn of the loop."""
        for number in range(begin, begin + count):
            self.outlet.event("beep", {"number": number})
            if number % size == size - 1:
                await asyncio.sleep(0.001)

    def kill(self) -> None:
        """Kill the broker and keep the bridge out until `back`."""
        self.proxy.accepting = False
        self.broker.kill()

    async def back(self) -> float:
        """Start the broker, let the reader subscribe first, then the bridge.

        Return how long that one took (s).
        """
        before = self.reader.subscribed
        self.broker.start()
        await until(lambda: self.reader.subscribed > before, "the reader")
        began = time.monotonic()
        mark = len(self.reader.seen)
        self.proxy.accepting = True
        await self.live.until(self.live.bridge.connected.is_set, "the connection")
        await self.live.until(lambda: self.announced(mark), "the bridge back online")
        return time.monotonic() - began

    def announced(self, since: int) -> bool:
        """Both statuses have come again, and are online."""
        topics = {each.topic for each in self.reader.seen[since:]}
        return {f"{TOY}/status", f"{BRIDGE}/status"} <= topics and self.reader.online()

    async def lost(self) -> None:
        await self.live.until(
            lambda: not self.live.bridge.connected.is_set(),
            "the loss of the connection",
        )


@asynccontextmanager
async def lab(
    broker: Mosquitto,
    configuration: str = LAB,
    proxy: Proxy | None = None,
    **endpoint: Any,
) -> AsyncIterator[Lab]:
    """Entered = online with its first values."""
    toy = Toy()
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(Reader(broker.port))
        between = await stack.enter_async_context(proxy or Proxy(broker.port))
        one = await stack.enter_async_context(
            live(service(toy), between.url, configuration, **endpoint)
        )
        await one.until(
            lambda: reader.online() and reader.value("level") is not None,
            "the first values",
        )
        yield Lab(broker, between, reader, toy, one)


async def kept(port: int, *filters: str) -> dict[str, bytes]:
    """Return what the broker retains now."""
    async with Reader(port, *(filters or ("busbar/#",)), MARK) as reader:
        await reader.abreast()
        return {each.topic: each.payload for each in reader.seen if each.topic != MARK}
