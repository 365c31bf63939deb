"""What the demo sees on the bus, and the five commands that it proposes, made from what the devices offer."""

import asyncio
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from busbar.contract.messages import Info, Status
from busbar.contract.topics import BRIDGE
from busbar.mqtt.connection import connection
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received, stay_connected
from busbar.net.endpoint import Endpoint

ROOT = "busbar"
REPLIES = f"{ROOT}/reply/demo"
Key = tuple[str, str]  # bridge, device
Noticed = Callable[[Key, Status], None]


class Silent:
    """The source of a client that publishes nothing."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None

    def lower(self, limit: int | None) -> None: ...
    def pull(self) -> Message | None: ...
    def delivered(self, message: Message) -> None: ...
    def refused(self, message: Message, why: str) -> None: ...
    def returned(self, messages: list[Message]) -> None: ...


class Watch:
    """The newest status and info of every device, the bridges among them."""

    def __init__(self) -> None:
        self.statuses: dict[Key, Status] = {}
        self.infos: dict[Key, Info] = {}
        self.subscribed = asyncio.Event()
        self.noticed: Noticed = lambda key, status: (
            None
        )  # called when a status has changed
        self._news = asyncio.Event()

    async def follow(self, endpoint: Endpoint) -> None:
        """Listen for ever, also after the broker was away."""

        async def listen() -> None:
            async with connection(
                endpoint, Silent(), self._take, f"{ROOT}-demo"
            ) as opened:
                await opened.subscribe([f"{ROOT}/+/+/status", f"{ROOT}/+/+/info"])
                self.subscribed.set()
                await opened.closed

        await stay_connected(listen)

    async def all_online(self, bridges: int, waiting: Callable[[], None]) -> None:
        """Return once so many bridges and all their devices are online; tell when there is news."""
        while not self._online(bridges):
            waiting()
            self._news = asyncio.Event()
            await self._news.wait()

    def missing(self) -> list[str]:
        """Return who is there and not online, with the reason."""
        wanting = {
            key: status
            for key, status in sorted(self.statuses.items())
            if status.state != "online"
        }
        return [f"{'/'.join(key)}: {shown(status)}" for key, status in wanting.items()]

    def kinds(self) -> set[str]:
        """Return which kinds of bridges are there, online, with all their devices."""
        wanting = {
            bridge
            for (bridge, _), status in self.statuses.items()
            if status.state != "online"
        }
        ready = {
            bridge for bridge, device in self.statuses if device == BRIDGE
        } - wanting
        return {
            info.kind for (bridge, _), info in self.infos.items() if bridge in ready
        }

    def _online(self, bridges: int) -> bool:
        # A bridge tells of all its devices before it tells of itself (contract 5), so none that it has is overlooked;
        # where they are found at run time, there is to be at least one.
        there = {bridge for bridge, device in self.statuses if device == BRIDGE}
        serving = {bridge for bridge, device in self.statuses if device != BRIDGE}
        return len(there & serving) >= bridges and all(
            self._is_complete(key) for key in self.statuses
        )

    def _is_complete(self, key: Key) -> bool:
        status, info = self.statuses[key], self.infos.get(key)
        return (
            status.state == "online"
            and info is not None
            and info.revision >= status.revision
        )

    def _take(self, received: Received) -> None:
        _, bridge, device, channel = received.topic.split("/")
        try:
            if channel == "info":
                self.infos[bridge, device] = msgspec.json.decode(
                    received.payload, type=Info
                )
            else:
                self._see(
                    (bridge, device), msgspec.json.decode(received.payload, type=Status)
                )
        except msgspec.MsgspecError:  # cleared, or somebody's try
            self.infos.pop((bridge, device), None)
        self._news.set()

    def _see(self, key: Key, status: Status) -> None:
        before, self.statuses[key] = self.statuses.get(key), status
        if before is None or before.state != status.state:
            self.noticed(key, status)


def shown(status: Status) -> str:
    """Return a state with its reason."""
    return (
        f"{status.state} ({status.reason.message})" if status.reason else status.state
    )


def table(watch: Watch) -> list[tuple[str, ...]]:
    """Return a heading and a row for each device: device, kind, name, address, state."""
    rows: list[tuple[str, ...]] = [("device", "kind", "what it is", "address", "state")]
    for key, status in sorted(watch.statuses.items()):
        info = watch.infos.get(key)
        about = (info.kind, _name(info), info.address or "") if info else ("", "", "")
        rows.append(("/".join(key), *about, shown(status)))
    return rows


def _name(info: Info) -> str:
    maker = " ".join(part for part in (info.manufacturer, info.model) if part)
    return maker or info.name or ""


class Example(NamedTuple):
    """One command for a shell, and what it does."""

    says: str
    command: str


def examples(
    port: int, infos: Mapping[Key, Info], simulators: Mapping[str, int], pause: float
) -> list[Example]:
    """Return five commands for what is there; `simulators` are the process ids by kind of bridge."""
    devices = {key: info for key, info in sorted(infos.items()) if key[1] != BRIDGE}
    key = max(
        devices,
        key=lambda each: (
            bool(_settings(devices[each])),
            "query" in devices[each].commands,
        ),
    )
    info, topic = devices[key], "/".join((ROOT, *key))
    return [
        Example(
            "everything that happens on the bus, until Ctrl-C",
            f"mosquitto_sub -p {port} -t '{ROOT}/#' -v",
        ),
        _set(port, topic, info),
        _query(port, topic, info),
        Example(
            f"a lock: for 20 s whoever sets {key[1]} without the `lease` from the reply is refused",
            _request(port, f"{topic}/call/lock", '{"ttl": 20, "owner": "me"}'),
        ),
        Example(
            f"break something: the simulators of {info.kind} end, {key[1]} goes offline; "
            f"the demo starts it again after {pause:g} s and {key[1]} comes back by itself",
            f"kill {simulators[info.kind]}",
        ),
    ]


def _set(port: int, topic: str, info: Info) -> Example:
    values = _settings(info)
    if not values:
        return Example(
            "a command: read everything anew",
            _publish(port, f"{topic}/call/refresh", "{}"),
        )
    what = " and ".join(values)
    return Example(
        f"a set: {what} in one go", _publish(port, f"{topic}/set", json.dumps(values))
    )


def _settings(info: Info) -> dict[str, Any]:
    """Return a value for the first switch and for the first number with both limits."""
    values: dict[str, Any] = {}
    kinds = set()
    for path, each in info.properties.items():
        kind = each.schema.get("type")
        bounded = "minimum" in each.schema and "maximum" in each.schema
        if (
            each.access == "r"
            or "{" in path
            or kind in kinds
            or not (kind == "boolean" or bounded)
        ):
            continue
        kinds.add(kind)
        values[path] = (
            True
            if kind == "boolean"
            else _between(each.schema["minimum"], each.schema["maximum"])
        )
    return values


def _between(least: float, most: float) -> float:
    value = least + (most - least) / 6
    return int(value) if value.is_integer() else value


def _query(port: int, topic: str, info: Info) -> Example:
    if info.kind == "scpi":
        command = _request(port, f"{topic}/call/query", "*IDN?")
        return Example("a query, and its reply", command)
    bridge = topic.rpartition("/")[0]
    command = _request(port, f"{bridge}/{BRIDGE}/call/list", "{}")
    return Example(
        "a query to the bridge, and its reply: which devices are there", command
    )


def _publish(port: int, topic: str, payload: str) -> str:
    return f"mosquitto_pub -p {port} -t {topic} -m {shlex.quote(payload)}"


def _request(port: int, topic: str, payload: str) -> str:
    return f"mosquitto_rr -p {port} -t {topic} -m {shlex.quote(payload)} -e {REPLIES}"
