"""What an observer has seen, by device and channel, read as the wire messages of the contract."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from busbar.cli.observe import Seen
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
from busbar.contract.names import LEVEL
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


class Told(NamedTuple):
    """One message that could be read; `place` counts all messages."""

    place: int
    seen: Seen
    # the struct of the contract; a leaf's value; an event as the fields that it has
    said: Any


class Malformed(NamedTuple):
    """One message that could not."""

    channel: str
    text: str


class Device:
    """All that one device has said, in order of arrival."""

    def __init__(self, name: str) -> None:
        self.name = name
        # by channel: status info state reply
        self.said: dict[str, list[Told]] = defaultdict(list)
        self.leaves: dict[str, list[Told]] = defaultdict(list)
        self.events: dict[str, list[Told]] = defaultdict(list)
        self.blobs: dict[str, list[Told]] = defaultdict(list)
        self.messages: list[tuple[str, str, Seen]] = []  # channel, path, message
        self.malformed: list[Malformed] = []

    def last(self, channel: str) -> Any:
        """Return what was said last on status, info or state, None if nothing was."""
        told = self.said[channel]
        return told[-1].said if told else None

    def take(self, index: int, channel: str, path: str, seen: Seen) -> None:
        """Read one message; an empty one only removes."""
        self.messages.append((channel, path, seen))
        if not seen.payload:
            return
        try:
            said = _read(channel, path, seen.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.malformed.append(
                Malformed(
                    channel, (f"{seen.topic}: {error}: {messages.shown(seen.payload)}")
                )
            )
            return
        self._list(channel, path).append(Told(index, seen, said))

    def changes(self) -> Iterator[tuple[Told, ChangeEvent]]:
        """Yield every event/change that could be read."""
        for told in self.events["change"]:
            yield told, msgspec.convert(told.said, ChangeEvent)

    def info_at(self, place: int) -> Info | None:
        """Return the description that was known when a message came."""
        before = [told.said for told in self.said["info"] if told.place < place]
        return before[-1] if before else None

    def _list(self, channel: str, path: str) -> list[Told]:
        if path:
            return {"state": self.leaves, "event": self.events, "blob": self.blobs}[
                channel
            ][path]
        return self.said[channel]


class Record:
    """All that one bridge has said, and what its broker retains at the end."""

    def __init__(
        self,
        base: str,
        seen: Iterable[Seen],
        late: Mapping[str, Seen],
        seconds: float,
        until: float,
    ) -> None:
        self.base, self.late, self.seconds, self.until = base, late, seconds, until
        self.devices: dict[str, Device] = {}
        self.strange: list[str] = []
        self.count = 0
        self.listened = 0.0  # loop time until which nobody was asked to do anything
        for index, each in enumerate(seen):
            self.count += 1
            self.listened = self.listened or each.at + seconds
            self._sort(index, each)
        unknown = [
            name
            for name, device in self.devices.items()
            if not device.said.keys() & {"status", "info"}
        ]
        # commanded by somebody, and not there
        self.unknown = {name: self.devices.pop(name) for name in unknown}

    @property
    def boot(self) -> str:
        """What the bridge calls this run of its process."""
        return str(self.devices[BRIDGE].last("status").boot)

    @property
    def bridge(self) -> Device:
        return self.devices[BRIDGE]

    def _sort(self, index: int, seen: Seen) -> None:
        if not seen.topic.startswith(self.base):
            return  # a private reply topic
        device, channel, path = split(seen.topic.removeprefix(self.base))
        levels = [device, *path.split("/")] if path else [device]
        if channel in COMMANDS:
            return
        if all(map(LEVEL.fullmatch, levels)) and bool(path) in CHANNELS.get(
            channel, ()
        ):
            self.devices.setdefault(device, Device(device)).take(
                index, channel, path, seen
            )
        else:
            self.strange.append(seen.topic)


def split(rest: str) -> tuple[str, str, str]:
    """Split a topic below the bridge into device, channel and path."""
    device, _, tail = rest.partition("/")
    channel, _, path = tail.partition("/")
    return device, channel, path


def _read(channel: str, path: str, payload: bytes) -> Any:
    if channel == "blob":
        return None
    if channel == "event":
        packed = messages.is_msgpack_map(payload)
        fields = (msgspec.msgpack if packed else msgspec.json).decode(
            payload, type=dict[str, Any]
        )
        msgspec.convert(fields, _EVENTS.get(path, Event))
        return fields
    payload.decode()
    return (
        msgspec.json.decode(payload)
        if path
        else msgspec.json.decode(payload, type=_SHAPES[channel])
    )


def described(info: Info, path: str) -> PropertyInfo | None:
    """Return the property of a path, of a family too."""
    if path in info.properties:
        return info.properties[path]
    return next(
        (
            each
            for template, each in info.properties.items()
            if _is_member(template, each, path)
        ),
        None,
    )


def may_have(info: Info, path: str) -> bool:
    """True if info describes a property, or had no room for all of them."""
    return described(info, path) is not None or info.truncated is not UNSET


def parameters(template: str) -> list[str]:
    """Return the names of what varies in the path of a family."""
    return _PARAMETER.findall(template)


def _is_member(template: str, about: PropertyInfo, path: str) -> bool:
    parts = _PARAMETER.split(template)
    if len(parts) == 1:
        return False
    pattern = "".join(
        "([^/]+)" if odd % 2 else re.escape(part) for odd, part in enumerate(parts)
    )
    match = re.fullmatch(pattern, path)
    ranges = about.parameters if isinstance(about.parameters, dict) else {}
    return match is not None and all(
        _within(ranges.get(name), text)
        for name, text in zip(parts[1::2], match.groups(), strict=True)
    )


def _within(bounds: Any, text: str) -> bool:
    if not isinstance(bounds, dict) or not {"minimum", "maximum"} & bounds.keys():
        return True
    number = int(text) if text.isascii() and text.isdigit() else None
    return number is not None and bounds.get("minimum", number) <= number <= bounds.get(
        "maximum", number
    )
