"""Publisher of one device: its properties, values and events."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from busbar.bridge import (
    Blob,
    BlobOutcome,
    Command,
    Description,
    Offline,
    Outlet,
    Port,
    Property,
    TooLarge,
    UnknownTarget,
)
from indi_bridge.events import EVENTS, MESSAGES, RECEIVED, note, notes
from indi_bridge.model import IndiDevice, TimedMessage
from indi_bridge.properties import (
    ANY_MEMBER,
    Image,
    any_member,
    blob_name,
    member_property,
    preview_name,
    served,
    vector_property,
)
from indi_bridge.settings import Server, matches
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

# the commands that a device with these vectors has
Offered = Callable[[Mapping[str, Vector]], Mapping[str, Command]]

# s for one set, whatever the vector says: a slew, an exposure of hours
LONGEST = 86400


@dataclass
class DefinedProperties:
    """The properties of a vector, and the definition that they are of."""

    definition: tuple[object, ...]
    properties: dict[str, Property]


@dataclass
class DeviceMemory:
    """What is known of a device beyond the end of a connection.

    Its properties until all is defined again, and its last images.
    """

    properties: dict[str, Property] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    # name of a vector -> its properties
    defined: dict[str, DefinedProperties] = field(default_factory=dict)


class VectorPublisher:
    """Publishes the vectors of one device."""

    def __init__(
        self,
        port: Port,
        settings: Server,
        name: str,
        device: IndiDevice,
        memory: DeviceMemory,
        offered: Offered,
    ) -> None:
        self.name = name
        self.device = device
        self.outlet: Outlet | None = None
        self._port = port
        self._settings = settings
        self._offered = offered
        self._memory = memory
        self._vectors: dict[str, Vector] = {}  # by path
        self._members: dict[str, tuple[Vector, str]] = {}  # path -> vector, member
        self._defined: dict[str, Vector] = {}  # since the last flush
        # vectors that share a path: none of them is served
        self._colliding: set[str] = set()
        self._changed = True

    def on_defined(self, vector: Vector) -> None:
        """Take a vector that is defined, perhaps again."""
        self._defined[vector.name] = vector
        self._changed = True

    def publish_values(self, vector: Vector) -> None:
        """Publish the values of a vector."""
        if self._vectors.get(vector.path) is vector and self.outlet is not None:
            try:
                self.outlet.values(self._values(vector), vector.time)
            except Exception as error:  # it costs this vector only
                self.fail(vector, error)

    def fail(self, vector: Vector, error: Exception) -> None:
        """Mark a vector as bad after an error of ours."""
        if self.outlet is not None:
            self.outlet.failed(self._known_paths(vector), error)

    def _report(self, vector: Vector, error: Exception) -> None:
        """Report a vector that cannot be described, and so cannot be bad either."""
        outlet = self.outlet or self._port.outlet(self._settings.name)
        outlet.failed(self._known_paths(vector), error)

    def flush(self) -> None:
        """Publish what is defined."""
        if not self._changed:
            return
        self._changed = False
        self._index()
        description = self._description()
        if self.outlet is None:
            self.outlet = self._port.appear(self.name, description)
        else:
            self.outlet.online()
            self.outlet.describe(description)
        defined = self._defined
        self._defined = {}
        for vector in defined.values():
            self.publish_values(vector)
        self.publish_messages()
        self._publish_images(self.outlet, description)

    def on_deleted(self, vectors: Iterable[Vector]) -> None:
        """Mark vectors as deleted; their properties go when it has been quiet."""
        for vector in vectors:
            paths = self._paths(vector)
            self._vectors.pop(vector.path, None)
            for path in paths:
                self._members.pop(path, None)
            self._publish_deleted(vector, paths)

    def on_driver_gone(self) -> None:
        """Take the device offline until its driver comes back or is given up."""
        if self.outlet is not None:
            self.outlet.offline(Offline("the driver is gone"))

    def drop_undefined(self) -> None:
        """Remove what has not been defined again: it has been quiet."""
        if self.outlet is None or not self.device.vectors:
            return
        self._memory.properties.clear()
        self.outlet.describe(self._description())

    def publish_image(
        self, name: str, about: dict[str, Any], data: bytes | None, retain: bool
    ) -> "asyncio.Future[BlobOutcome] | None":
        """Publish an image, or with None only what is known of it.

        Return what becomes of it, None if it has no place at present.
        """
        if self.outlet is None or self.outlet.description.find(name) is None:
            return None
        file = about["file"]
        if data is None:
            outcome = self._publish_unkept(self.outlet, name, about)
        else:
            type_ = about["content_type"]
            outcome = self.outlet.blob(
                name, data, type_, retain=retain, file=file, about=about
            )

        def on_done(done: "asyncio.Future[BlobOutcome]") -> None:
            if not done.cancelled() and done.result().error is None:
                self._memory.images[name] = {**about, "file": done.result().file}

        self._memory.images.pop(name, None)
        outcome.add_done_callback(on_done)
        return outcome

    def _publish_unkept(
        self, outlet: Outlet, name: str, about: dict[str, Any]
    ) -> "asyncio.Future[BlobOutcome]":
        """Publish what is known of an image that was too large to keep."""
        outcome: asyncio.Future[BlobOutcome] = (
            asyncio.get_running_loop().create_future()
        )
        outlet.values({name: about})
        error = None
        if about["file"] is None:
            limit = self._settings.blobs.limit
            text = f"{about['size']} bytes; `blobs: {{limit}}` is {limit}"
            error = TooLarge(f"{text}, and it is not saved", limit=limit)
            outlet.bad([name], error)
        outcome.set_result(BlobOutcome(about["file"], error))
        return outcome

    def publish_messages(self) -> None:
        """Publish the last messages."""
        if self.outlet is not None:
            self.outlet.values(notes(self.device.messages))

    def publish_message(self, message: TimedMessage) -> None:
        """Publish one message."""
        if self.outlet is not None:
            self.outlet.event("message", note(message))
            self.publish_messages()

    def publish_event(self, name: str, fields: msgspec.Struct) -> None:
        if self.outlet is not None:
            self.outlet.event(name, msgspec.to_builtins(fields))

    def publish_received(self, vector: Vector) -> None:
        """Publish that a set has come, by option."""
        if self.outlet is not None and self._settings.received:
            fields = {"vector": vector.path, "value": vector.value()}
            self.outlet.event("received", fields)

    def find(self, path: str) -> tuple[Vector, str | None]:
        """Return the vector of a path, and the member if it is one's.

        Raise UnknownTarget.
        """
        if path in self._vectors:
            return self._vectors[path], None
        if path in self._members:
            return self._members[path]
        name, _, key = path.partition("/")
        vector = self._vectors.get(name)
        if vector is not None and vector.kind != "BLOB":
            for member, each in vector.keys.items():
                if each == key:
                    return vector, member
        raise UnknownTarget(f"{path} is not defined by the driver at present")

    def _index(self) -> None:
        """Find out which vectors and members are served, and on which paths."""
        self._vectors, colliding = served(self._served())
        for name in colliding - self._colliding:
            log.warning(
                "%s: %s shares its topic with another property; neither is served",
                self.name,
                name,
            )
        if colliding - self._colliding:
            self._colliding |= colliding
            self._memory.defined.clear()  # an image may have lost its place
        self._members = {}
        for vector in self._vectors.values():
            for member, path in self._member_paths(vector):
                self._members[path] = (vector, member)

    def _served(self) -> Mapping[str, Vector]:
        vectors = self.device.vectors
        if self._settings.blobs.mode != "only":
            return vectors
        return {name: each for name, each in vectors.items() if each.kind == "BLOB"}

    def _publish_images(self, outlet: Outlet, description: Description) -> None:
        """Publish what is known of the last images."""
        images = {}
        for path, about in self._memory.images.items():
            if description.find(path):
                images[path] = about
        outlet.values(images)

    def _paths(self, vector: Vector) -> list[str]:
        """Return the paths of a vector and of its members."""
        paths = [vector.path]
        for path, (owner, _) in self._members.items():
            if owner is vector:
                paths.append(path)
        return paths

    def _known_paths(self, vector: Vector) -> list[str]:
        """Return the paths of a vector that are described on the bus."""
        if self.outlet is None:
            return []
        description = self.outlet.description
        return [path for path in self._paths(vector) if description.find(path)]

    def _publish_deleted(self, vector: Vector, paths: list[str]) -> None:
        if self.outlet is None:
            return
        description = self.outlet.description
        known = [path for path in paths if description.find(path)]
        self.outlet.bad(known, Offline(f"{vector.name} was deleted by the driver"))

    def _values(self, vector: Vector) -> dict[str, Any]:
        values: dict[str, Any] = {vector.path: vector.value()}
        if self._settings.members:
            for member, path in self._member_paths(vector):
                values[path] = vector.members[member].shown
        return values

    def _member_paths(self, vector: Vector) -> list[tuple[str, str]]:
        """Return the members that are properties of their own, with their paths."""
        patterns = self._settings.members
        if not patterns or vector.kind == "BLOB":
            return []
        found = []
        for member, key in vector.keys.items():
            path = f"{vector.path}/{key}"
            if matches(patterns, f"{self.name}/{path}"):
                found.append((member, path))
        return found

    def _description(self) -> Description:
        made: dict[str, Property] = {}
        for vector in self._vectors.values():
            try:
                made |= self._properties(vector)
            except Exception as error:  # it costs this vector only
                self._report(vector, error)
        if any(vector.perm != "ro" for vector in self._vectors.values()):
            made[ANY_MEMBER] = any_member()
        properties = {**self._memory.properties, **made, MESSAGES.path: MESSAGES}
        self._memory.properties.update(made)
        events = dict(EVENTS)
        if self._settings.received:
            events[RECEIVED.name] = RECEIVED
        return Description(
            "indi",
            properties,
            self._offered(self.device.vectors),
            events,
            self._blobs(),
            name=self.device.name,
            model=self._driver_info("DRIVER_NAME"),
            firmware=self._driver_info("DRIVER_VERSION"),
            timeout=LONGEST,
        )

    def _driver_info(self, member: str) -> str | None:
        info = self.device.vectors.get("DRIVER_INFO")
        if info is None or member not in info.members:
            return None
        return info.members[member].value or None

    def _blobs(self) -> dict[str, Blob]:
        blobs: dict[str, Blob] = {}
        for vector in self._vectors.values():
            for name, title in self._blob_titles(vector):
                blobs[name] = Blob(name, title=title)
        if self._settings.blobs.preview:
            for each in list(blobs.values()):
                name = preview_name(each.name)
                blobs[name] = Blob(name, "image/jpeg", each.title)
        return blobs

    def _blob_titles(self, vector: Vector) -> list[tuple[str, str]]:
        """Return name and title of each BLOB of a vector that comes from the driver."""
        if vector.kind != "BLOB" or vector.perm == "wo":
            return []
        titles = []
        for member in vector.keys:
            name = blob_name(vector, member)
            if not {f"image {name}", f"preview {name}"} & self._colliding:
                titles.append((name, vector.members[member].label))
        return titles

    def _properties(self, vector: Vector) -> dict[str, Property]:
        """Return the properties of a vector.

        They are made again only when its definition has changed.
        """
        known = self._memory.defined.get(vector.name)
        if known is not None and known.definition == vector.definition:
            return known.properties
        made = {vector.path: vector_property(vector)}
        for member, path in self._member_paths(vector):
            made[path] = member_property(vector, vector.members[member], path)
        for name, title in self._blob_titles(vector):
            made[name] = Property(name, Image, title=title)
            if self._settings.blobs.preview:
                preview = preview_name(name)
                made[preview] = Property(preview, Image, title=f"{title}: preview")
        self._memory.defined[vector.name] = DefinedProperties(vector.definition, made)
        return made
