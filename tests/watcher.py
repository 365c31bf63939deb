"""An ordinary MQTT client (paho with its own thread) that keeps all it receives, for
tests with a real broker."""

import asyncio
import itertools
import json
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import msgpack
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from busbar.testing.fakes import until
from tests.broker import find

MARK = "busbar/mark"  # a topic of nobody


@dataclass(frozen=True)
class Seen:
    topic: str
    payload: bytes
    retain: bool
    qos: int

    @property
    def json(self) -> Any:
        """The payload, also that of an event in MessagePack.

        A map begins as no JSON does.
        """
        packed = bool(self.payload) and (
            self.payload[0] >> 4 == 8 or self.payload[0] in (0xDE, 0xDF)
        )
        return msgpack.unpackb(self.payload) if packed else json.loads(self.payload)


class Watcher:
    """Entered = subscribed to everything; survives restarts of the broker."""

    def __init__(self, port: int, *filters: str, protocol: int = paho.MQTTv5) -> None:
        self.seen: list[Seen] = []
        self.subscribed = 0
        self._filters = filters or ("busbar/#",)
        self._marks = itertools.count(1)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(each, 1) for each in self._filters]
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._port = port

    async def __aenter__(self) -> "Watcher":
        self._client.connect("127.0.0.1", self._port, keepalive=10)
        self._client.loop_start()
        await until(lambda: self.subscribed, "the subscription")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # else its socket pair waits for the garbage collector
        self._client._reset_sockets()

    def publish(
        self, topic: str, payload: str | bytes, *, retain: bool = False, qos: int = 1
    ) -> None:
        self._client.publish(topic, payload, qos, retain)

    async def abreast(self) -> None:
        """Wait for everything that the broker has."""
        mark, begin = b"%d" % next(self._marks), len(self.seen)
        self.publish(MARK, mark)
        await until(
            lambda: any(
                (e.topic, e.payload) == (MARK, mark) for e in self.seen[begin:]
            ),
            "the mark",
        )

    def on(self, topic: str) -> list[Seen]:
        """What came on a topic, in order."""
        return [each for each in list(self.seen) if each.topic == topic]

    def last(self, topic: str) -> Any:
        """The last payload of a topic as JSON, None if there is none."""
        found = self.on(topic)
        return found[-1].json if found and found[-1].payload else None

    async def call(
        self, topic: str, payload: str, *, limit: float = 20.0
    ) -> dict[str, Any]:
        """Publish a command and return the next outcome with its target."""
        levels = topic.split("/")
        reply, target = "/".join([*levels[:3], "reply"]), "/".join(levels[3:])
        before = len(self.on(reply))
        self.publish(topic, payload)

        def outcome() -> Any:
            return next(
                (s.json for s in self.on(reply)[before:] if s.json["target"] == target),
                None,
            )

        await until(outcome, f"the outcome of {topic}", limit)
        return dict(outcome())

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed += 1

    def _on_message(
        self, _client: Any, _userdata: Any, message: paho.MQTTMessage
    ) -> None:
        self.seen.append(
            Seen(message.topic, bytes(message.payload), message.retain, message.qos)
        )


async def retained(port: int, pattern: str = "busbar/#") -> dict[str, bytes]:
    """Return what the broker retains now."""
    command = [
        find("mosquitto_sub"),
        "-p",
        str(port),
        "-t",
        pattern,
        "--retained-only",
        "-W",
        "1",
        "-F",
        "%t %p",
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, check=False
    )
    return {
        topic.decode(): payload
        for topic, _, payload in (
            line.partition(b" ") for line in done.stdout.splitlines()
        )
    }
