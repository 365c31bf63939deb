"""A little bridge that nobody of us would run.

Written from the contract alone, on paho, with one fault of choice.

Without a fault it keeps the contract as far as `busbar conformance --all` can see.
"""

import json
import secrets
import select
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.contract.client import VERSIONS
from tests.contract.wrong_device import Device
from tests.contract.wrong_reading import Refused, read_call, read_set

RETRYABLE = (
    "locked",
    "overloaded",
    "expired",
    "offline",
    "timeout",
    "cancelled",
    "link",
)
PERIOD = 0.25  # s between readings


class WrongBridge:
    """One bridge.

    `lamp` is online and changes, `off` is offline, `bridge` is the bridge.
    """

    def __init__(
        self, port: int, name: str, fault: str = "", protocol: str = "5"
    ) -> None:
        self.fault, self.name, self.base, self.boot = (
            fault,
            name,
            f"busbar/{name}/",
            secrets.token_hex(4),
        )
        self.devices = {each: Device(each, self) for each in ("lamp", "off", "bridge")}
        self._outcomes: dict[tuple[str, str, str], tuple[Any, dict[str, Any]]] = {}
        self._waiting: list[tuple[Device, Callable[[], None]]] = []
        self._v5, self._port, self._connects, self._due = protocol == "5", port, 0, 0.0
        self._last: paho.MQTTMessageInfo | None = None
        self._said: dict[str, Any] = {}  # what is retained of status and info
        self.client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"busbar.{name}", protocol=VERSIONS[protocol]
        )
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect, self._client.on_message = (
            self._on_connect,
            self._on_message,
        )
        will = {
            "state": "offline",
            "since": None,
            "boot": self.boot,
            "revision": 0,
            "seq": 0,
            "reason": None,
        }
        self._client.will_set(f"{self.base}bridge/status", json.dumps(will), 1, True)

    def has(self, *faults: str) -> bool:
        return self.fault in faults

    def say(
        self,
        topic: str,
        payload: Any,
        *,
        qos: int = 1,
        retain: bool = False,
        echo: bytes | None = None,
    ) -> None:
        """Publish, with the faults of topics and flags."""
        if topic.endswith("/status") and self.has("status QoS 0"):
            qos = 0
        if "/state/" in topic and self.has("leaf QoS 1"):
            qos = 1
        if (topic.endswith("/state") and self.has("state not retained")) or (
            "/state/" in topic and self.has("leaf not retained")
        ):
            retain = False
        if topic.endswith("lamp/reply") and self.has("reply retained"):
            retain = True
        if topic.endswith("lamp/event/tick") and self.has("event retained"):
            retain = True
        data = payload if isinstance(payload, bytes) else json.dumps(payload)
        if topic.endswith("lamp/state") and self.has("bad JSON"):
            data = "{'values': "
        if topic.endswith(("/status", "/info")):
            self._said[topic] = data
        info = self._client.publish(topic, data, qos, retain, self._properties(echo))
        self._last = info if qos and not info.rc else self._last

    def _properties(self, echo: bytes | None) -> Properties | None:
        if echo is None or not self._v5:
            return None
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = (
            b"wrong" if self.has("another's correlation") else echo
        )
        return properties

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        topics = ("set/#", "call/#", "status", "info")
        client.subscribe([(f"{self.base}+/{topic}", 1) for topic in topics])
        self._connects += 1
        if self.has("nothing announced after a reconnect") and self._connects > 1:
            self.devices["bridge"].announce_status()
            return
        names = (
            [*reversed(self.devices)]
            if self.has("bridge online first")
            else [*self.devices]
        )
        for name in names:
            self.devices[name].announce()
        for device in self.devices.values():
            device.announce_leaves()

    def turn(self) -> None:
        """Do what falls due: connect (again), keep alive, read."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PERIOD
        if self._client.socket() is None:
            self._client.connect("127.0.0.1", self._port)
        self._client.loop_misc()
        # paho sends again in another order
        if self._connects and (self._last is None or self._last.is_published()):
            for device in self.devices.values():
                device.tick()
            self.serve_waiting()

    def _on_message(
        self, _client: Any, _userdata: Any, message: paho.MQTTMessage
    ) -> None:
        name, _, target = message.topic.removeprefix(self.base).partition("/")
        if target in ("status", "info"):
            self._repair(message, target)
            return
        if not message.payload and not (
            self.has("empty payload answered") and "empty" in target
        ):
            return
        echo = getattr(message.properties, "CorrelationData", None)
        call = Call(self, name, target, message.payload, echo)
        try:
            if message.retain and not self.has("retained commands executed"):
                self._client.publish(message.topic, b"", 1, True)
                raise Refused("retained", "a retained command")
            call.prepare()
            self._carry_out(call)
        except Refused as error:
            call.fail(error)

    def _repair(self, message: paho.MQTTMessage, channel: str) -> None:
        ours = self._said.get(message.topic)
        known = ours is None or message.payload.decode() == ours
        if not (known or message.retain or self.has(f"{channel} not repaired")):
            self._client.publish(message.topic, ours, 1, True)

    def _carry_out(self, call: "Call") -> None:
        key = (call.device, call.target, str(call.metadata.get("_id")))
        if (
            call.remembered
            and key in self._outcomes
            and not self.has("the same id run twice")
        ):
            arguments, outcome = self._outcomes[key]
            if arguments != call.arguments and not self.has(
                "another command with a known id"
            ):
                raise Refused("duplicate", "the id was used for something else")
            call.send(outcome)
            return
        wait = call.metadata.get("_wait")
        if (
            wait
            and not self.has("_wait ignored")
            and self.devices[call.device].locked_for(call.metadata.get("_lease"))
        ):
            self._waiting.append(
                (self.devices[call.device], lambda: self._carry_out(call))
            )
            return
        try:
            outcome = call.succeed(
                self.devices[call.device].run(
                    call.target, call.arguments, call.metadata
                )
            )
        except Refused as error:
            if call.remembered and self.has("a refused id remembered"):
                self._outcomes[key] = (call.arguments, call.outcome(error=error))
            raise
        if call.remembered:
            self._outcomes[key] = (call.arguments, outcome)

    def serve_waiting(self) -> None:
        """Let the first who waits for a free device go on."""
        for waiting in list(self._waiting):
            device, go = waiting
            if not device.locked_for(None):
                self._waiting.remove(waiting)
                go()
                return


class Yard:
    """Runs bridges, all in one thread: entered = running, left = gone."""

    def __init__(self, *bridges: WrongBridge) -> None:
        self._bridges = bridges
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="wrong bridges", daemon=True
        )

    def __enter__(self) -> "Yard":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for bridge in self._bridges:
                bridge.turn()
            clients = {
                each.client.socket(): each.client
                for each in self._bridges
                if each.client.socket()
            }
            wanting = [sock for sock, client in clients.items() if client.want_write()]
            readable, writable, _ = select.select(list(clients), wanting, [], 0.01)
            for sock in readable:
                clients[sock].loop_read()
            for sock in writable:
                clients[sock].loop_write()
        for bridge in self._bridges:
            bridge.client.disconnect()


class Call:
    """One command from its message to its outcome."""

    def __init__(
        self,
        bridge: WrongBridge,
        device: str,
        target: str,
        payload: bytes,
        echo: bytes | None,
    ) -> None:
        self.bridge, self.device, self.target, self.payload, self.echo = (
            bridge,
            device,
            target,
            payload,
            echo,
        )
        self.arguments: Any = None
        self.metadata = {
            key: value
            for key, value in peek(payload).items()
            if key in ("_id", "_reply")
        }
        self.private: str | None = None

    @property
    def remembered(self) -> bool:
        id_ = self.metadata.get("_id")
        return isinstance(id_, str) and len(id_) >= 8

    def prepare(self) -> None:
        """Read and check everything before the device is touched; raise Refused."""
        if len(self.payload) > 256 * 1024:
            raise Refused("too_large", "a command above the limit")
        if self.device not in self.bridge.devices:
            raise Refused("unknown", "no such device")
        read = read_call if self.target.startswith("call/") else read_set
        self.arguments, self.metadata = read(
            self.bridge.devices[self.device], self.target, self.payload
        )
        self._take_reply_topic()
        sent = self.metadata.get("_sent")
        late = sent and time.time() - sent > self.metadata.get("_ttl", 10) + 5
        if late and not self.bridge.has("_sent ignored"):
            raise Refused("expired", "sent long ago")

    def _take_reply_topic(self) -> None:
        topic = self.metadata.get("_reply")
        if topic is None or topic == f"{self.bridge.base}{self.device}/reply":
            return
        levels = topic.removeprefix("busbar/reply/").split("/")
        fine = (
            topic.startswith("busbar/reply/")
            and 1 <= len(levels) <= 4
            and not {"#", "+", ""} & set(levels)
        )
        if fine or (self.bridge.has("replies anywhere") and "#" not in topic):
            self.private = topic
        else:
            raise Refused("forbidden", "no reply topic")

    def outcome(
        self, *, result: Any = None, error: Refused | None = None
    ) -> dict[str, Any]:
        said = {
            "bridge": self.bridge.name,
            "device": "somebody"
            if self.bridge.has("reply of another device")
            else self.device,
            "id": None
            if self.bridge.has("id not echoed")
            else self.metadata.get("_id"),
            "target": self.target,
            "ok": error is None,
            "time": time.time() * (1000 if self.bridge.has("milliseconds") else 1),
            "took": 0.001,
        }
        if error is None:
            return {**said, "result": result}
        code = (
            "nope"
            if self.bridge.has("an error code of its own") and error.code == "forbidden"
            else error.code
        )
        retryable = (code in RETRYABLE) != self.bridge.has("retryable wrong")
        about = {
            "code": code,
            "message": str(error),
            "retryable": retryable,
            "detail": error.detail,
        }
        return {**said, "error": about}

    def succeed(self, result: Any) -> dict[str, Any]:
        outcome = self.outcome(result=result)
        self.send(outcome)
        return outcome

    def fail(self, error: Refused) -> None:
        nobody = self.target.startswith("call/nobody")
        if nobody and self.bridge.has("unknown command answered ok"):
            self.succeed(None)
        elif nobody and self.bridge.has("another error code"):
            self.send(self.outcome(error=Refused("bad_request", "what?")))
        elif not (nobody and self.device == "bridge" and self.bridge.has("no outcome")):
            self.send(self.outcome(error=error))

    def send(self, outcome: dict[str, Any]) -> None:
        if self.private and not self.bridge.has("no private reply"):
            self.bridge.say(self.private, outcome, echo=self.echo)
        self.bridge.say(
            f"{self.bridge.base}{self.device}/reply", outcome, echo=self.echo
        )
        if self.bridge.has("two outcomes") and self.target == "call/refresh":
            self.bridge.say(
                f"{self.bridge.base}{self.device}/reply", outcome, echo=self.echo
            )


def peek(payload: bytes) -> dict[str, Any]:
    """Return the object of a payload as far as it can be read."""
    try:
        found = (
            msgpack.unpackb(payload) if payload[:1] > b"\x7f" else json.loads(payload)
        )
    except (ValueError, RecursionError, msgpack.UnpackException):
        return {}
    return found if isinstance(found, dict) else {}
