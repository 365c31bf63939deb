"""Tour of the bus: the devices that are there, and five commands to try on them."""

import asyncio
import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from busbar.contract.messages import Info, Status
from busbar.contract.topics import BRIDGE
from busbar.errors import BusbarError
from busbar.mqtt.connection import connection
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import Received, stay_connected
from busbar.net.endpoint import Endpoint

ROOT = "busbar"
REPLIES = f"{ROOT}/reply/demo"
Key = tuple[str, str]  # bridge, device
OnStatus = Callable[[Key, Status], None]


class Silent:
    """The source of a client that publishes nothing."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None

    def lower(self, limit: int | None) -> None: ...
    def pull(self) -> Message | None: ...
    def delivered(self, message: Message) -> None: ...
    def refused(self, message: Message, why: BusbarError) -> None: ...
    def returned(self, messages: list[Message]) -> None: ...


class Watch:
    """The newest status and info of every device, the bridges among them."""

    def __init__(self) -> None:
        self.statuses: dict[Key, Status] = {}
        self.infos: dict[Key, Info] = {}
        self.subscribed = asyncio.Event()
        # called when a status has changed
        self.on_status: OnStatus = lambda key, status: None
        self._changed = asyncio.Event()

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
        """Return once so many bridges and all their devices are online.

        Call `waiting` after each change until then.
        """
        while not self._online(bridges):
            waiting()
            self._changed = asyncio.Event()
            await self._changed.wait()

    def missing(self) -> list[str]:
        """Return the devices that are not online, with the reason."""
        lines = []
        for key, status in sorted(self.statuses.items()):
            if status.state != "online":
                name = "/".join(key)
                lines.append(f"{name}: {shown(status)}")
        return lines

    def kinds(self) -> set[str]:
        """Return the kinds of bridges that are online with all their devices."""
        ready = {bridge for bridge, device in self.statuses if device == BRIDGE}
        for (bridge, _), status in self.statuses.items():
            if status.state != "online":
                ready.discard(bridge)
        infos = self.infos.items()
        return {info.kind for (bridge, _), info in infos if bridge in ready}

    def _online(self, bridges: int) -> bool:
        # A bridge announces all its devices before itself (contract 5), so none that
        # it has is overlooked; where they are found at run time, there is to be at
        # least one.
        there = set()
        serving = set()
        for bridge, device in self.statuses:
            if device == BRIDGE:
                there.add(bridge)
            else:
                serving.add(bridge)
        if len(there & serving) < bridges:
            return False
        return all(map(self._is_complete, self.statuses))

    def _is_complete(self, key: Key) -> bool:
        status = self.statuses[key]
        info = self.infos.get(key)
        if info is None or info.revision < status.revision:
            return False
        return status.state == "online"

    def _take(self, received: Received) -> None:
        _, bridge, device, channel = received.topic.split("/")
        key = (bridge, device)
        try:
            if channel == "info":
                self.infos[key] = msgspec.json.decode(received.payload, type=Info)
            else:
                self._see(key, msgspec.json.decode(received.payload, type=Status))
        except msgspec.MsgspecError:  # cleared, or no message of a bridge
            self.infos.pop(key, None)
        self._changed.set()

    def _see(self, key: Key, status: Status) -> None:
        before = self.statuses.get(key)
        self.statuses[key] = status
        if before is None or before.state != status.state:
            self.on_status(key, status)


def shown(status: Status) -> str:
    """Return a state with its reason."""
    if status.reason:
        return f"{status.state} ({status.reason.message})"
    return status.state


def table(watch: Watch) -> list[tuple[str, ...]]:
    """Return a heading, and a row for each device."""
    heading = ("device", "kind", "what it is", "address", "state")
    rows: list[tuple[str, ...]] = [heading]
    for key, status in sorted(watch.statuses.items()):
        info = watch.infos.get(key)
        about = ("", "", "")
        if info is not None:
            about = (info.kind, _name(info), info.address or "")
        name = "/".join(key)
        rows.append((name, *about, shown(status)))
    return rows


def _name(info: Info) -> str:
    maker = [part for part in (info.manufacturer, info.model) if part]
    return " ".join(maker) or info.name or ""


class Example(NamedTuple):
    """One command for a shell, and what it does."""

    says: str
    command: str


def examples(
    port: int, infos: Mapping[Key, Info], simulators: Mapping[str, int], pause: float
) -> list[Example]:
    """Return five commands; `simulators` are the process ids by kind of bridge."""
    key = _most_instructive(infos)
    info = infos[key]
    name = key[1]
    topic = "/".join((ROOT, *key))
    return [
        Example(
            "everything that happens on the bus, until Ctrl-C (without what is long: "
            "descriptions, whole snapshots, images)",
            f"mosquitto_sub -p {port} -v -t '{ROOT}/#' -T '{ROOT}/+/+/info' "
            f"-T '{ROOT}/+/+/state' -T '{ROOT}/+/+/blob/#'",
        ),
        _set(port, topic, info),
        _query(port, topic, info),
        Example(
            f"a lock: for 20 s whoever sets {name} without the `lease` from the reply "
            "is refused",
            _request(port, f"{topic}/call/lock", '{"ttl": 20, "owner": "me"}'),
        ),
        Example(
            f"break something: the simulators of {info.kind} end, {name} goes offline; "
            f"the demo starts it again after {pause:g} s and {name} comes back by "
            "itself",
            f"kill {simulators[info.kind]}",
        ),
    ]


def _most_instructive(infos: Mapping[Key, Info]) -> Key:
    """Return the first device that has the most to show: settings, then queries."""

    def merit(key: Key) -> tuple[bool, bool]:
        info = infos[key]
        return bool(_settings(info)), "query" in info.commands

    devices = sorted(key for key in infos if key[1] != BRIDGE)
    return max(devices, key=merit)


def _set(port: int, topic: str, info: Info) -> Example:
    values = _settings(info)
    if not values:
        command = _publish(port, f"{topic}/call/refresh", "{}")
        return Example("a command: read everything again", command)
    what = " and ".join(values)
    command = _publish(port, f"{topic}/set", json.dumps(values))
    return Example(f"a set: {what} in one go", command)


def _settings(info: Info) -> dict[str, Any]:
    """Return a value for the first switch and for the first number with both limits."""
    values: dict[str, Any] = {}
    kinds = set()
    for path, each in info.properties.items():
        kind = each.schema.get("type")
        if each.access == "r" or "{" in path or kind in kinds:
            continue
        value = _example_value(each.schema)
        if value is not None:
            kinds.add(kind)
            values[path] = value
    return values


def _example_value(schema: Mapping[str, Any]) -> Any:
    """Return True for a switch, a number between both limits, else None."""
    if schema.get("type") == "boolean":
        return True
    if "minimum" in schema and "maximum" in schema:
        return _between(schema["minimum"], schema["maximum"])
    return None


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
    quoted = shlex.quote(payload)
    return f"mosquitto_pub -p {port} -t {topic} -m {quoted}"


def _request(port: int, topic: str, payload: str) -> str:
    quoted = shlex.quote(payload)
    return f"mosquitto_rr -p {port} -t {topic} -m {quoted} -e {REPLIES}"
