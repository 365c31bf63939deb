"""Dispatcher of a server's elements: into the model, from there to the bus."""

import asyncio
import logging
import time as clock
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from busbar.bridge import BusbarError, Port, UnknownTarget, collisions, level
from busbar.codecs import indi
from busbar.codecs.indi import (
    DefVector,
    DelProperty,
    Element,
    GetProperties,
    Message,
    NewVector,
    SetVector,
)
from indi_bridge.blobs.publish import BlobPublisher, Frame
from indi_bridge.blobs.receive import BlobReceiver
from indi_bridge.model import ServerModel, TimedMessage
from indi_bridge.pending import LateEnd, PendingSets
from indi_bridge.publisher import (
    Commanded,
    DeviceMemory,
    Late,
    Offered,
    Unheard,
    VectorPublisher,
    note,
    notes,
)
from indi_bridge.settings import Server, matches
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

BLOBS = (indi.BlobStart, indi.BlobData, indi.BlobEnd)
QUIET = 1.0  # s without a definition: that was all of them
# s that a device whose driver is gone stays offline; indiserver starts it again within
# 15 s (measured)
GONE = 30.0


@dataclass(frozen=True)
class Requests:
    """Requests of a dispatcher to its session."""

    send: Callable[[Element], None]  # later, in order
    offer_blob: Callable[[str, str], None]  # device, vector


class ElementDispatcher:
    """Keeps the devices of one server on the bus, as long as one connection lasts."""

    def __init__(
        self,
        port: Port,
        settings: Server,
        memories: dict[str, DeviceMemory],
        offered: Offered,
        receiver: BlobReceiver,
        requests: Requests,
    ) -> None:
        self.model = ServerModel()
        self.images = BlobPublisher(settings.blobs)
        self.pending = PendingSets(
            self._on_late, self._on_silence, settings.timeouts.patience
        )
        self.definition_came = asyncio.Event()
        self._port = port
        self._settings = settings
        self._memories = memories
        self._offered = offered
        self._receiver = receiver
        self._requests = requests
        self._outlet = port.outlet(settings.name)
        self._publishers: dict[str, VectorPublisher] = {}  # by INDI name
        self._unserved: set[str] = set()
        # INDI name of a device whose driver is gone -> loop time
        self._absent: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._quiet: asyncio.TimerHandle | None = None
        self._unflushed: set[VectorPublisher] = set()
        self._complete = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            DefVector: self._on_definition,
            SetVector: self._on_set,
            Message: self._on_message,
            DelProperty: self._on_deleted,
            NewVector: self._on_foreign_set,
            GetProperties: self._on_snoop,
            indi.BlobStart: receiver.start,
            indi.BlobData: receiver.data,
            indi.BlobEnd: self._on_blob_end,
            indi.Skipped: self._on_skipped,
        }

    def start(self) -> None:
        """Publish the server's own device: the link is up."""
        first = {"messages": [], "definitions_complete": False}
        self._outlet.values(first | self._counts())
        self._await_quiet()

    def take(self, elements: list[Element]) -> None:
        """Take a batch from the connection for values.

        BLOBs that a server sends there without being asked would mix with those of the
        other connection.
        """
        self._take(each for each in elements if not isinstance(each, BLOBS))

    def take_blobs(self, elements: list[Element]) -> None:
        """Take the BLOBs of a batch from their connection.

        The rest comes on the other one.
        """
        self._take(each for each in elements if _is_of_blob(each))

    async def close(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self.pending.close()
        self._receiver.drop()
        await self.images.close()

    def publisher(self, device: str) -> VectorPublisher:
        """Return the publisher of a device of the bus; raise UnknownTarget."""
        for each in self._publishers.values():
            if each.name == device:
                return each
        raise UnknownTarget(f"the server has no device {device!r} at present")

    def original(self, device: str) -> str:
        """Return the INDI name of a device given by that or by its name on the bus.

        Raise UnknownTarget.
        """
        if device in self.model.devices:
            return device
        name = self.publisher(device).device.name
        if name not in self.model.devices:
            raise UnknownTarget(f"the driver of {device!r} is gone at present")
        return name

    def vector(self, device: str, name: str) -> Vector:
        """Return a vector of a device of the bus; raise UnknownTarget."""
        vectors = self.publisher(device).device.vectors
        if name not in vectors:
            raise UnknownTarget(f"{device} has no {name} at present")
        return vectors[name]

    def publish_counts(self, **more: Any) -> None:
        """Publish the counts of the server's own device, and of its connections."""
        self._outlet.values(self._counts() | more)

    def _take(self, elements: Iterable[Element]) -> None:
        for each in elements:
            handler = self._handlers.get(type(each))
            if handler is not None:
                handler(each)
        if self._unflushed:
            self._flush()

    def _counts(self) -> dict[str, Any]:
        vectors = list(self.model.vectors())
        return {
            "devices": len(self.model.devices),
            "vectors": len(vectors),
            "members": sum(len(each.members) for each in vectors),
            "ignored": self.model.ignored,
            "blobs_lost": self._receiver.lost,
            "frames_dropped": self.images.dropped,
        }

    def _on_definition(self, definition: DefVector) -> None:
        device = definition.device
        if not self._settings.devices.has(device):
            return
        known = self.model.find(device, definition.name)
        vector = self.model.define(definition, clock.time())
        if vector is None:
            return
        self._absent.pop(device, None)
        publisher = self._serve(device)
        if publisher is not None:
            self._mark(publisher, vector)
        self.pending.on_vector(vector)
        self._take_message(device, definition.message, vector.time)
        self.definition_came.set()
        self._await_quiet()
        if self._wants_blobs(vector):
            self._requests.offer_blob(device, vector.name)
        if known is None:
            self._connect(vector)

    def _wants_blobs(self, vector: Vector) -> bool:
        if vector.kind != "BLOB" or vector.perm == "wo":
            return False
        return self._settings.blobs.mode != "never"

    def _connect(self, vector: Vector) -> None:
        """Switch a new device on, at the start or after its driver was restarted."""
        device = vector.device
        if vector.name != "CONNECTION" or not matches(self._settings.connect, device):
            return
        member = vector.members.get("CONNECT")
        if member is not None and member.value != "On":
            switch = NewVector("Switch", device, vector.name, {"CONNECT": "On"})
            self._requests.send(switch)

    def _on_set(self, update: SetVector) -> None:
        device = update.device
        vector = self.model.find(device, update.name)
        # drivers do so when they connect. Source: docs/protocols/indi.md, 4.6
        if vector is None or vector.kind != update.kind:
            self.model.ignored += 1
            return
        publisher = self._publishers.get(device)
        if publisher in self._unflushed:
            self._flush()
            publisher = self._publishers.get(device)
        redefined = vector.apply(update, clock.time())
        if publisher is not None:
            if redefined:
                self._mark(publisher, vector)
            else:
                publisher.publish_values(vector)
            publisher.publish_received(vector)
        self.pending.on_vector(vector)
        if update.message:
            self._take_message(device, update.message, vector.time)

    def _on_message(self, message: Message) -> None:
        if message.device and not self._settings.devices.has(message.device):
            return
        time = indi.parse_time(message.timestamp)
        self._take_message(message.device, message.text, time)

    def _take_message(self, device: str, text: str, time: float | None) -> None:
        """Take a message of a device or, with "", of the server; "" is none."""
        if not text:
            return
        message = TimedMessage(clock.time() if time is None else time, text)
        self.model.keep_message(device, message)
        self.pending.on_message(device, text)
        publisher = self._publishers.get(device)
        if publisher in self._unflushed and publisher.outlet is None:
            self._flush()  # events are of what is on the bus
            publisher = self._publishers.get(device)
        if publisher is not None:
            publisher.publish_message(message)
        else:
            self._outlet.event("message", note(message))
            self._outlet.values(notes(self.model.messages))

    def _on_deleted(self, gone: DelProperty) -> None:
        publisher = self._publishers.get(gone.device)
        time = indi.parse_time(gone.timestamp)
        self._take_message(gone.device, gone.message, time)
        vectors = self.model.delete(gone.device, gone.name)
        self.pending.on_deleted(gone.device, gone.name)
        if publisher is not None:
            publisher.on_deleted(vectors)
            if not gone.name or not publisher.device.vectors:
                self.model.delete(gone.device, "")
                self._absent[gone.device] = self._loop.time()
                publisher.on_driver_gone()
        self._await_quiet()

    def _on_foreign_set(self, new: NewVector) -> None:
        """Publish what another client has asked for; the server passes it on.

        Source: docs/protocols/indi.md, 2.3.
        """
        self.pending.on_foreign_set(new.device, new.name)
        fields = Commanded(level(new.name), new.members)
        self._publish_event(new.device, "command", fields)

    def _on_snoop(self, asked: GetProperties) -> None:
        """Publish that a driver or a chained server asks for properties of others."""
        fields = {"device": asked.device, "vector": asked.name}
        self._outlet.event("snoop", fields)

    def _on_blob_end(self, end: indi.BlobEnd) -> None:
        received = self._receiver.end(end)
        if received is None:
            return
        vector = self.model.find(received.device, received.vector)
        publisher = self._publishers.get(received.device)
        if vector is None or publisher is None or received.member not in vector.keys:
            self.model.ignored += 1
            return
        self.images.publish(Frame(publisher, vector, received))

    def _on_skipped(self, skipped: indi.Skipped) -> None:
        log.info("%s: skipped %s: %r", self._settings.name, skipped.why, skipped.data)

    def _on_late(self, late: LateEnd) -> None:
        fields = Late(late.vector.path, late.end, late.took, late.messages)
        self._publish_event(late.vector.device, "late", fields)

    def _on_silence(self, vector: Vector, seconds: float) -> None:
        self._publish_event(vector.device, "timeout", Unheard(vector.path, seconds))

    def _publish_event(
        self, device: str, name: str, fields: Commanded | Late | Unheard
    ) -> None:
        publisher = self._publishers.get(device)
        if publisher is not None:
            publisher.publish_event(name, fields)

    def _mark(self, publisher: VectorPublisher, vector: Vector) -> None:
        """Let a definition be published at the end of the batch."""
        publisher.on_defined(vector)
        self._unflushed.add(publisher)

    def _flush(self) -> None:
        unflushed = self._unflushed
        self._unflushed = set()
        for publisher in unflushed:
            try:
                publisher.flush()
            except BusbarError as error:  # its name is another device's
                name = publisher.device.name
                log.warning(
                    "%s: %s is not served: %s", self._settings.name, name, error
                )
                self._unserved.add(name)
                self._publishers.pop(name, None)

    def _serve(self, device: str) -> VectorPublisher | None:
        """Return the publisher of a defined device, None if it is not served."""
        if device in self._unserved:
            return None
        publisher = self._publishers.get(device)
        if publisher is not None:
            publisher.device = self.model.devices[device]
            return publisher
        names = {}
        for each in (*self.model.devices, *self._absent):
            names[each] = self._name(each)
        path = names[device]
        colliding = collisions(names)
        if device in colliding or path == self._settings.name:
            self._refuse({device, *colliding}, path)
            return None
        made = VectorPublisher(
            self._port,
            self._settings,
            path,
            self.model.devices[device],
            self._memories.setdefault(device, DeviceMemory()),
            self._offered,
        )
        self._publishers[device] = made
        return made

    def _refuse(self, colliding: set[str], path: str) -> None:
        """Serve none of the devices that share a path. Source: docs/contract.md, 1."""
        sharing = [name for name in colliding if self._name(name) == path]
        log.warning(
            "%s: %s have one name on the bus, %s: set `names:`",
            self._settings.name,
            sharing,
            path,
        )
        for name in sharing:
            self._unserved.add(name)
            self._absent.pop(name, None)
            self._remove(name)

    def _remove(self, device: str) -> None:
        """Remove a device from the bus."""
        publisher = self._publishers.pop(device, None)
        if publisher is None:
            return
        self._unflushed.discard(publisher)
        if publisher.outlet is not None:
            self._port.vanish(publisher.name)

    def _name(self, device: str) -> str:
        given = self._settings.names.get(device)
        if given:
            return given
        if self._settings.prefix:
            return level(f"{self._settings.name} {device}")
        return level(device)

    def _await_quiet(self) -> None:
        """Start the quiet time again."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(QUIET, self._on_quiet)
        if self._complete:
            self._complete = False
            self._outlet.values({"definitions_complete": False})

    def _on_quiet(self) -> None:
        """Publish that all is defined, and remove what is not."""
        self._complete = True
        self._remove_absent()
        for publisher in self._publishers.values():
            publisher.drop_undefined()
        self._outlet.values({"definitions_complete": True, **self._counts()})
        self._quiet = None
        if self._absent:
            self._quiet = self._loop.call_later(GONE / 3, self._on_quiet)

    def _remove_absent(self) -> None:
        """Remove the devices whose drivers have been gone for too long."""
        now = self._loop.time()
        for device, since in list(self._absent.items()):
            if now - since >= GONE:
                del self._absent[device]
                self._memories.pop(device, None)
                self._remove(device)


def _is_of_blob(element: Element) -> bool:
    if isinstance(element, SetVector):
        return element.kind == "BLOB"
    return isinstance(element, (*BLOBS, indi.Skipped))
