"""Record of what an observer has seen, by device and channel, as wire messages."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.checks import NotTriedError
from busbar.cli.observe import Seen
from busbar.cli.schemas.foreign import CheckedInfo, checked
from busbar.contract import messages
from busbar.contract.messages import (
    ChangeEvent,
    Event,
    Info,
    LogEvent,
    ProgressEvent,
    PropertyInfo,
    Reply,
    State,
    Status,
)
from busbar.contract.names import LEVEL, family
from busbar.contract.topics import BRIDGE

CHANNELS: Mapping[str, tuple[bool, ...]] = {  # with a path, without one, or both
    "status": (False,),
    "info": (False,),
    "state": (False, True),
    "event": (True,),
    "blob": (True,),
    "reply": (False,),
}
COMMANDS = ("set", "call")
# s; what belongs together has come by then: a snapshot waits for a second at most
SETTLED = 2.0
_SHAPES: Mapping[str, Any] = {
    "status": Status,
    "info": Info,
    "state": State,
    "reply": Reply,
}
_EVENTS: Mapping[str, Any] = {
    "change": ChangeEvent,
    "progress": ProgressEvent,
    "log": LogEvent,
}
_PARAMETER = re.compile(r"\{([^{}/]+)\}")


class ReadMessage(NamedTuple):
    """One message that could be read; `place` counts all messages."""

    place: int
    seen: Seen
    # the struct of the contract; a leaf's value; an event as the fields that it has
    content: Any

    @property
    def topic(self) -> str:
        return self.seen.topic


class Malformed(NamedTuple):
    """One message that could not be read."""

    channel: str
    text: str


class DeviceRecord:
    """All messages of one device, in order of arrival."""

    def __init__(self, name: str) -> None:
        self.name = name
        # by channel: status info state reply
        self.read: dict[str, list[ReadMessage]] = defaultdict(list)
        self.leaves: dict[str, list[ReadMessage]] = defaultdict(list)
        self.events: dict[str, list[ReadMessage]] = defaultdict(list)
        self.blobs: dict[str, list[ReadMessage]] = defaultdict(list)
        self.messages: list[tuple[str, str, Seen]] = []  # channel, path, message
        self.malformed: list[Malformed] = []
        self.infos: list[CheckedInfo] = []  # `read["info"]` has them without faults

    def last(self, channel: str) -> Any:
        """Return the last content of status, info or state, None if there was none."""
        read = self.read[channel]
        return read[-1].content if read else None

    def take(self, index: int, channel: str, path: str, seen: Seen) -> None:
        """Read one message; an empty one only removes."""
        self.messages.append((channel, path, seen))
        if not seen.payload:
            return
        try:
            content = _decoded(channel, path, seen.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            shown = messages.shown(seen.payload)
            text = f"{seen.topic}: {error}: {shown}"
            self.malformed.append(Malformed(channel, text))
            return
        if channel == "info":
            self.infos.append(checked(content))
            content = self.infos[-1].info
        message = ReadMessage(index, seen, content)
        if path:
            self.with_path(channel)[path].append(message)
        else:
            self.read[channel].append(message)

    def changes(self) -> Iterator[tuple[ReadMessage, ChangeEvent]]:
        """Yield every event/change that could be read."""
        for message in self.events["change"]:
            yield message, msgspec.convert(message.content, ChangeEvent)

    def info_at(self, place: int) -> Info | None:
        """Return the description that was known when a message came."""
        known: Info | None = None
        for message in self.read["info"]:
            if message.place >= place:
                break
            known = message.content
        return known

    def with_path(self, channel: str) -> dict[str, list[ReadMessage]]:
        """Return the messages of a channel that have a path, by path."""
        by_channel = {"state": self.leaves, "event": self.events, "blob": self.blobs}
        return by_channel.get(channel, {})


class Record:
    """All messages of one bridge, and what its broker retains at the end."""

    def __init__(
        self,
        base: str,
        seen: Iterable[Seen],
        late: Mapping[str, Seen],
        seconds: float,
        until: float,
    ) -> None:
        self.base = base
        self.late = late
        self.seconds = seconds
        self.until = until
        self.devices = {BRIDGE: DeviceRecord(BRIDGE)}
        self.strange: list[str] = []
        self.count = 0
        self.listened = 0.0  # loop time until which no command was sent
        for index, each in enumerate(seen):
            self.count += 1
            self.listened = self.listened or each.at + seconds
            self._sort(index, each)
        # commanded by another client, and not there
        self.unknown: dict[str, DeviceRecord] = {}
        for name, device in list(self.devices.items()):
            known = name == BRIDGE or device.read.keys() & {"status", "info"}
            if not known:
                self.unknown[name] = self.devices.pop(name)

    @property
    def boot(self) -> str:
        """What the bridge calls this run of its process; raise NotTriedError."""
        status = self.bridge.last("status")
        if status is None:
            raise NotTriedError("the status of the bridge cannot be read")
        return str(status.boot)

    @property
    def bridge(self) -> DeviceRecord:
        return self.devices[BRIDGE]

    def is_recent(self, device: DeviceRecord) -> bool:
        """Return whether the last status is so new that the rest may still come."""
        last = device.read["status"][-1].seen.at
        return self.until - last < SETTLED

    def _sort(self, index: int, seen: Seen) -> None:
        if not seen.topic.startswith(self.base):
            return  # a private reply topic
        device, channel, path = split(seen.topic.removeprefix(self.base))
        if channel in COMMANDS:
            return
        if not _is_topic(device, channel, path):
            self.strange.append(seen.topic)
            return
        if device not in self.devices:
            self.devices[device] = DeviceRecord(device)
        self.devices[device].take(index, channel, path, seen)


def _is_topic(device: str, channel: str, path: str) -> bool:
    levels = [device, *path.split("/")] if path else [device]
    if not all(map(LEVEL.fullmatch, levels)):
        return False
    return bool(path) in CHANNELS.get(channel, ())


def split(rest: str) -> tuple[str, str, str]:
    """Split a topic below the bridge into device, channel and path."""
    device, _, tail = rest.partition("/")
    channel, _, path = tail.partition("/")
    return device, channel, path


def _decoded(channel: str, path: str, payload: bytes) -> Any:
    if channel == "blob":
        return None
    if channel == "event":
        encoding = msgspec.msgpack if messages.is_msgpack_map(payload) else msgspec.json
        fields = encoding.decode(payload, type=dict[str, Any])
        msgspec.convert(fields, _EVENTS.get(path, Event))
        return fields
    payload.decode()
    if path:
        return msgspec.json.decode(payload)
    return msgspec.json.decode(payload, type=_SHAPES[channel])


def described(info: Info, path: str) -> PropertyInfo | None:
    """Return the property of a path, of a family too."""
    if path in info.properties:
        return info.properties[path]
    for template, about in info.properties.items():
        if _is_member(template, about, path):
            return about
    return None


def may_have(info: Info, path: str) -> bool:
    """Return whether info describes a property, or had no room for all of them."""
    return described(info, path) is not None or info.truncated is not UNSET


def parameters(template: str) -> list[str]:
    """Return the names of what varies in the path of a family."""
    return _PARAMETER.findall(template)


def _is_member(template: str, about: PropertyInfo, path: str) -> bool:
    names, pattern = family(template)
    match = pattern.fullmatch(path)
    if not names or match is None:
        return False
    ranges = about.parameters if isinstance(about.parameters, dict) else {}
    for name, text in zip(names, match.groups(), strict=True):
        if not _is_within(ranges.get(name), text):
            return False
    return True


def _is_within(bounds: Any, text: str) -> bool:
    if not isinstance(bounds, dict):
        return True
    if "minimum" not in bounds and "maximum" not in bounds:
        return True
    if not text.isascii() or not text.isdigit():
        return False
    number = int(text)
    least = bounds.get("minimum", number)
    most = bounds.get("maximum", number)
    return bool(least <= number <= most)
