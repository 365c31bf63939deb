"""One device of a server on the bus: its properties, values, events."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.bridge import (
    Blob,
    Command,
    Description,
    Event,
    Offline,
    Outlet,
    Port,
    Property,
    UnknownTarget,
)
from indi_bridge.actions import offered
from indi_bridge.properties import (
    Image,
    blob_name,
    member_property,
    preview_name,
    served,
    vector_property,
)
from indi_bridge.settings import Server, matches
from indi_bridge.vectors import Device, Told, Vector

log = logging.getLogger("busbar.indi")

# s for one set, whatever the vector says: a slew, an exposure of hours
LONGEST = 86400.0

_SEVERITY = re.compile(r"\s*\[(INFO|WARNING|WARN|ERROR|DEBUG)\]\s*", re.IGNORECASE)


class Note(msgspec.Struct, frozen=True):
    """One message of the driver: Unix time (s), info, warning, error or debug, text."""

    time: float
    severity: str
    text: str


class Commanded(msgspec.Struct, frozen=True):
    """Fields of `event/command`: another client has asked for this."""

    vector: str
    members: dict[str, str]


class Late(msgspec.Struct, frozen=True):
    """Fields of `event/late`: how a set ended after its timeout; `took` in s."""

    vector: str
    state: str
    took: float
    messages: list[str]


class Unheard(msgspec.Struct, frozen=True):
    """Fields of `event/timeout`.

    Nothing of the vector came within so many s after a set.
    """

    vector: str
    seconds: float


Notes = Annotated[list[Note], Meta(title="The last messages, newest first")]
MESSAGES = Property("messages", Notes, title="The last messages, newest first")
EVENTS = {
    each.name: each
    for each in (
        Event("message", Note, "A message of the driver"),
        Event("command", Commanded, "Another client has set a property"),
        Event("late", Late, "How a set ended after its timeout"),
        Event("timeout", Unheard, "A set was not answered"),
    )
}
RECEIVED = Event(
    "received", dict[str, Any], ("A set has come, of values that may be as before")
)


def note(told: Told) -> dict[str, Any]:
    """Return a message as a Note, with the severity that is only a prefix of its text.

    Source: docs/protocols/indi.md, 4.11.
    """
    found = _SEVERITY.match(told.text)
    severity = (
        found[1].lower().replace("warning", "warn").replace("warn", "warning")
        if found
        else "info"
    )
    made = Note(
        round(told.time, 6), severity, told.text[found.end() :] if found else told.text
    )
    return dict(msgspec.to_builtins(made))


@dataclass
class Kept:
    """What outlives a connection.

    A device's properties until all is known anew, and what its last images were.
    """

    properties: dict[str, Property] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    # of each definition
    made: dict[str, tuple[tuple[object, ...], dict[str, Property]]] = field(
        default_factory=dict
    )


class Surface:
    """Puts one device on the bus."""

    def __init__(
        self,
        port: Port,
        settings: Server,
        name: str,
        device: Device,
        kept: Kept,
        commands: Mapping[str, Command],
    ) -> None:
        self.name = name
        self.device = device
        self.outlet: Outlet | None = None
        self._port, self._settings, self._commands = port, settings, commands
        self._kept = kept
        self._paths: dict[str, Vector] = {}
        self._leaves: dict[str, tuple[Vector, str]] = {}  # path -> vector, member
        self._news: dict[str, Vector] = {}  # defined since the last flush
        # vectors that share a path: none of them is served
        self._doubled: set[str] = set()
        self._dirty = True

    def defined(self, vector: Vector) -> None:
        """A vector is there, perhaps again."""
        self._news[vector.name] = vector
        self._dirty = True

    def changed(self, vector: Vector) -> None:
        """A vector has new values."""
        if self._paths.get(vector.path) is vector and self.outlet is not None:
            self.outlet.values(self._values(vector), vector.time)

    def flush(self) -> None:
        """Publish what is defined."""
        if not self._dirty:
            return
        self._dirty = False
        self._paths, doubled = served(self._served())
        for name in doubled - self._doubled:
            log.warning(
                ("%s: %s shares its topic with another property; neither is served"),
                self.name,
                name,
            )
        self._doubled |= doubled
        self._leaves = {
            path: (v, m)
            for v in self._paths.values()
            for m, path in self._leaf_paths(v)
        }
        description = self._description()
        if self.outlet is None:
            self.outlet = self._port.appear(self.name, description)
        else:
            self.outlet.online()
            self.outlet.describe(description)
        news, self._news = self._news, {}
        for vector in news.values():
            if self._paths.get(vector.path) is vector:
                self.outlet.values(self._values(vector), vector.time)
        self.messages()
        self.outlet.values(
            {
                path: image
                for path, image in self._kept.images.items()
                if description.find(path)
            }
        )

    def deleted(self, vectors: Iterable[Vector]) -> None:
        """Vectors are no more; their properties go when it has been quiet."""
        for vector in vectors:
            paths = [
                vector.path,
                *(path for path, (of, _) in self._leaves.items() if of is vector),
            ]
            self._paths.pop(vector.path, None)
            for path in paths:
                self._leaves.pop(path, None)
            if self.outlet is not None:
                known = [path for path in paths if self.outlet.description.find(path)]
                self.outlet.bad(
                    known, Offline(f"{vector.name} was deleted by the driver")
                )

    def gone(self, why: str) -> None:
        """The driver is gone.

        The device stays offline until it comes back or is given up.
        """
        if self.outlet is not None:
            self.outlet.offline(Offline(why))

    def settle(self) -> None:
        """It has been quiet: what has not been defined again is gone."""
        if self.outlet is None or not self.device.vectors:
            return
        self._kept.properties.clear()
        self.outlet.describe(self._description())

    def image(
        self, name: str, about: dict[str, Any], data: bytes | None, retain: bool
    ) -> bool:
        """Publish an image, or with None only what is known of it.

        False if it has no place at present.
        """
        if self.outlet is None or self.outlet.description.find(name) is None:
            return False
        self._kept.images[name] = about
        if data is None:
            self.outlet.values({name: about})
        else:
            file, type_ = about["file"], about["content_type"]
            self.outlet.blob(name, data, type_, retain=retain, file=file, about=about)
        return True

    def messages(self) -> None:
        """Publish the last messages."""
        if self.outlet is not None:
            self.outlet.values(
                {MESSAGES.path: [note(each) for each in self.device.messages]}
            )

    def told(self, told: Told) -> None:
        """Publish one message."""
        if self.outlet is not None:
            self.outlet.event("message", note(told))
            self.messages()

    def event(self, name: str, fields: msgspec.Struct) -> None:
        if self.outlet is not None:
            self.outlet.event(name, msgspec.to_builtins(fields))

    def received(self, vector: Vector) -> None:
        """Tell of a set, by option."""
        if self.outlet is not None and self._settings.received:
            self.outlet.event(
                "received", {"vector": vector.path, "value": vector.value()}
            )

    def find(self, path: str) -> tuple[Vector, str | None]:
        """Return the vector of a path, and the member if it is one's.

        Raise UnknownTarget.
        """
        if path in self._paths:
            return self._paths[path], None
        if path in self._leaves:
            return self._leaves[path]
        raise UnknownTarget(f"{path} is not defined by the driver at present")

    def _served(self) -> dict[str, Vector]:
        if self._settings.blobs.mode != "only":
            return self.device.vectors
        return {
            name: vector
            for name, vector in self.device.vectors.items()
            if vector.kind == "BLOB"
        }

    def _values(self, vector: Vector) -> dict[str, Any]:
        values: dict[str, Any] = {vector.path: vector.value()}
        for member, path in self._leaf_paths(vector) if self._settings.members else ():
            values[path] = vector.members[member].shown
        return values

    def _leaf_paths(self, vector: Vector) -> list[tuple[str, str]]:
        patterns = self._settings.members
        if not patterns or vector.kind == "BLOB":
            return []
        paths = (
            (member, f"{vector.path}/{key}") for member, key in vector.keys.items()
        )
        return [
            (member, path)
            for member, path in paths
            if matches(patterns, f"{self.name}/{path}")
        ]

    def _description(self) -> Description:
        made = {
            path: each
            for vector in self._paths.values()
            for path, each in self._properties(vector).items()
        }
        properties = {**self._kept.properties, **made, MESSAGES.path: MESSAGES}
        self._kept.properties.update(made)
        blobs = {
            name: Blob(name, title=title)
            for vector in self._paths.values()
            for name, title in _blobs(vector)
        }
        if self._settings.blobs.preview:
            previews = [
                Blob(preview_name(name), "image/jpeg", each.title)
                for name, each in blobs.items()
            ]
            blobs |= {each.name: each for each in previews}
        info = self.device.vectors.get("DRIVER_INFO")
        texts = (
            {name: member.value for name, member in info.members.items()}
            if info
            else {}
        )
        return Description(
            "indi",
            properties,
            offered(self._commands, self.device.vectors),
            EVENTS | ({RECEIVED.name: RECEIVED} if self._settings.received else {}),
            blobs,
            name=self.device.name,
            model=texts.get("DRIVER_NAME") or None,
            firmware=texts.get("DRIVER_VERSION") or None,
            timeout=LONGEST,
        )

    def _properties(self, vector: Vector) -> dict[str, Property]:
        """Return the properties of a vector, made anew only when its definition has changed."""
        known = self._kept.made.get(vector.name)
        if known is not None and known[0] == vector.definition:
            return known[1]
        made = {vector.path: vector_property(vector)}
        made |= {
            path: member_property(vector, vector.members[m], path)
            for m, path in self._leaf_paths(vector)
        }
        for name, title in _blobs(vector):
            made[name] = Property(name, Image, title=title)
            if self._settings.blobs.preview:
                made[preview_name(name)] = Property(
                    preview_name(name), Image, title=f"{title}: preview"
                )
        self._kept.made[vector.name] = (vector.definition, made)
        return made


def _blobs(vector: Vector) -> list[tuple[str, str]]:
    """Return name and title of each BLOB of a vector that comes from the driver."""
    if vector.kind != "BLOB" or vector.perm == "wo":
        return []
    return [
        (blob_name(vector, name), vector.members[name].label) for name in vector.keys
    ]
