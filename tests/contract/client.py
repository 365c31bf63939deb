"""An MQTT client of one bridge.

It commands, tells outcomes apart by id, and keeps all it has seen.
"""

import itertools
import json
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from busbar.testing.fakes import until
from tests.watcher import MARK, Seen, Watcher

VERSIONS = {"5": paho.MQTTv5, "3.1.1": paho.MQTTv311}
_NUMBERS = itertools.count(1)
_PROPERTIES = {
    "response": "ResponseTopic",
    "correlation": "CorrelationData",
    "expiry": "MessageExpiryInterval",
}


class Client(Watcher):
    """Entered = subscribed to everything below <root>.

    With `qos` 0 the broker keeps the order of all messages.
    """

    def __init__(self, port: int, base: str, protocol: str = "5", qos: int = 1) -> None:
        super().__init__(port, protocol=VERSIONS[protocol])
        self.base, self.protocol = base, protocol
        self.forged: set[tuple[str, bytes]] = set()
        self._client.on_connect = lambda client, *_: client.subscribe(
            [("busbar/#", qos)]
        )

    def forge(self, topic: str, payload: str) -> None:
        """Publish what only a bridge should, or nobody."""
        self.forged.add((topic, payload.encode()))
        self.publish(topic, payload, retain=True)

    def bridges(self) -> list[Seen]:
        """Return what a bridge has said."""
        return [
            each
            for each in self.seen
            if (each.topic, each.payload) not in self.forged and each.topic != MARK
        ]

    def send(
        self,
        device: str,
        target: str,
        payload: Any,
        *,
        retain: bool = False,
        **properties: Any,
    ) -> str:
        """Send a command and return its id.

        An object gets one, text and bytes are sent as they are.
        """
        id_ = ""
        if isinstance(payload, dict):
            payload = {"_id": f"i{next(_NUMBERS)}", **payload}
            id_, payload = payload["_id"], json.dumps(payload)
        self._client.publish(
            f"{self.base}{device}/{target}", payload, 1, retain, _properties(properties)
        )
        return id_

    async def ask(
        self, device: str, target: str, payload: Any, **properties: Any
    ) -> dict[str, Any]:
        """Send a command and return its outcome."""
        mark = len(self.seen)
        id_ = self.send(device, target, payload, **properties)
        return await self.outcome(device, target, id_ or None, mark)

    async def outcome(
        self, device: str, target: str, id_: str | None, mark: int = 0
    ) -> dict[str, Any]:
        """Wait for the outcome of a command."""
        found = lambda: [  # noqa: E731
            r
            for r in self.replies(device, mark)
            if (r["target"], r["id"]) == (target, id_)
        ]
        await until(found, f"the outcome of {device}/{target} {id_ or ''}")
        return dict(found()[0])

    def replies(self, device: str, mark: int = 0) -> list[dict[str, Any]]:
        """Return the outcomes on the public `reply` since, in order."""
        return [
            each.json
            for each in self.seen[mark:]
            if each.topic == f"{self.base}{device}/reply"
        ]

    def snapshot(self, device: str) -> dict[str, Any]:
        """Return the newest snapshot."""
        return dict(
            self.last(f"{self.base}{device}/state") or {"values": {}, "bad": {}}
        )

    def status(self, device: str) -> dict[str, Any]:
        """Return the newest status."""
        return dict(self.last(f"{self.base}{device}/status") or {"state": None})

    def names(self, mark: int = 0) -> list[str]:
        """Return the topics since, without the beginning that all have."""
        return [each.topic.removeprefix(self.base) for each in self.seen[mark:]]

    async def kept(self) -> dict[str, bytes]:
        """Return what the broker retains now, as a late subscriber is told it.

        Before any answer of the bridge.
        """
        async with Client(self._port, self.base, self.protocol, qos=0) as late:
            await late.ask("bridge", "call/list", {})
            return {each.topic: each.payload for each in late.seen if each.retain}

    async def value(self, device: str, path: str, wanted: Any) -> None:
        """Wait until the snapshot has a good value."""

        def there() -> bool:
            state = self.snapshot(device)
            return path not in state["bad"] and state["values"].get(path) == wanted

        await until(there, f"{device}/{path} = {wanted}")


def code(reply: dict[str, Any]) -> str:
    """Return `ok` or the code of the error."""
    return "ok" if reply["ok"] else str(reply["error"]["code"])


def _properties(wanted: dict[str, Any]) -> Properties | None:
    if not wanted:
        return None
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in wanted.items():
        setattr(properties, _PROPERTIES[name], value)
    return properties
