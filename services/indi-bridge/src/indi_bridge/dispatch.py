"""Dispatcher of a server's elements: into the model, from there to the bus."""

import asyncio
import logging
import time as clock
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from busbar.bridge import Port, UnknownTarget, level
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
from indi_bridge.blobs.receive import BlobReceiver, LostBlob, ReceivedBlob
from indi_bridge.events import Commanded, Late, Unheard, note, notes
from indi_bridge.goal import BUSY_WHILE_ON
from indi_bridge.model import ServerModel, TimedMessage
from indi_bridge.pending import LateEnd, PendingSets
from indi_bridge.publisher import DeviceMemory, Offered, VectorPublisher
from indi_bridge.served_devices import ServedDevices
from indi_bridge.settings import Server, matches
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

BLOBS = (indi.BlobStart, indi.BlobData, indi.BlobEnd)
QUIET = 1.0  # s without a definition: that was all of them
AGAIN = 10.0  # s between looks for devices that are gone for good


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
            self._on_late,
            self._on_silence,
            settings.timeouts.patience,
            self._is_busy_while_on,
        )
        self.definition_came = asyncio.Event()
        self._settings = settings
        self._served = ServedDevices(port, settings, self.model, memories, offered)
        self._receiver = receiver
        self._requests = requests
        self._outlet = port.outlet(settings.name)
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "blobs")
        self._quiet: asyncio.TimerHandle | None = None
        self._complete = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            DefVector: self._on_definition,
            SetVector: self._on_set,
            Message: self._on_message,
            DelProperty: self._on_deleted,
            NewVector: self._on_foreign_set,
            GetProperties: self._on_snoop,
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

    async def take_blobs(self, elements: list[Element]) -> None:
        """Take the BLOBs of a batch from their connection.

        The rest comes on the other one.
        """
        parts: list[Element] = []
        for each in elements:
            if isinstance(each, BLOBS):
                parts.append(each)
            elif _is_of_blob(each):
                await self._receive(parts)
                parts = []
                self._take([each])
        await self._receive(parts)

    async def close(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self.pending.close()
        # behind what is under way there
        await self._loop.run_in_executor(self._thread, self._receiver.drop)
        self._thread.shutdown(wait=False)
        await self.images.close()

    def publisher(self, device: str) -> VectorPublisher:
        """Return the publisher of a device of the bus; raise UnknownTarget."""
        return self._served.named(device)

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

    def _is_busy_while_on(self, vector: Vector) -> bool:
        """Return whether switches of a vector are Busy as long as they are on."""
        if vector.name in BUSY_WHILE_ON:
            return True
        name = f"{level(vector.device)}/{vector.path}"
        return matches(self._settings.busy_while_on, name)

    def publish_counts(self, **more: Any) -> None:
        """Publish the counts of the server's own device, and of its connections."""
        self._outlet.values(self._counts() | more)

    def _take(self, elements: Iterable[Element]) -> None:
        for each in elements:
            handler = self._handlers.get(type(each))
            if handler is None:
                continue
            try:
                handler(each)
            except Exception as error:  # it costs this element only
                self._fail(each, error)
        if self._served.unflushed:
            self._served.flush()

    async def _receive(self, parts: list[Element]) -> None:
        """Take parts of BLOBs; to inflate, hash and save them is a thread's work."""
        if not parts:
            return
        try:
            take = self._receiver.take
            whole = await self._loop.run_in_executor(self._thread, take, parts)
            for each in whole:
                self._publish_blob(each)
        except Exception as error:  # it costs these BLOBs only
            self._outlet.failed([], error)

    def _fail(self, element: Any, error: Exception) -> None:
        """Mark what an element is about, if it is about a vector that is served."""
        publisher = self._served.publishers.get(getattr(element, "device", ""))
        vector = self.model.find(
            getattr(element, "device", ""), getattr(element, "name", "")
        )
        if publisher is None or publisher.outlet is None or vector is None:
            self._outlet.failed([], error)
        else:
            publisher.fail(vector, error)

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
        self._served.on_defined(vector)
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
        served = self._served
        publisher = served.publishers.get(device)
        if publisher in served.unflushed:
            served.flush()
            publisher = served.publishers.get(device)
        redefined = vector.apply(update, clock.time())
        if publisher is not None:
            if redefined:
                served.mark(publisher, vector)
            else:
                publisher.publish_values(vector)
            publisher.publish_received(vector)
            if vector.state == "Busy":
                self.images.on_busy(publisher.name, vector.name)
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
        served = self._served
        publisher = served.publishers.get(device)
        if publisher in served.unflushed and publisher.outlet is None:
            served.flush()  # events are of what is on the bus
            publisher = served.publishers.get(device)
        if publisher is not None:
            publisher.publish_message(message)
        else:
            self._outlet.event("message", note(message))
            self._outlet.values(notes(self.model.messages))

    def _on_deleted(self, gone: DelProperty) -> None:
        publisher = self._served.publishers.get(gone.device)
        time = indi.parse_time(gone.timestamp)
        self._take_message(gone.device, gone.message, time)
        vectors = self.model.delete(gone.device, gone.name)
        self.pending.on_deleted(gone.device, gone.name)
        if publisher is not None:
            publisher.on_deleted(vectors)
            if not gone.name or not publisher.device.vectors:
                self.model.delete(gone.device, "")
                self._served.on_driver_gone(publisher)
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

    def _publish_blob(self, received: ReceivedBlob | LostBlob) -> None:
        vector = self.model.find(received.device, received.vector)
        publisher = self._served.publishers.get(received.device)
        if vector is None or publisher is None:
            self.model.ignored += 1
        elif isinstance(received, LostBlob):
            self.images.on_lost(publisher.name, vector.name, received.why)
        elif received.member not in vector.keys:
            self.model.ignored += 1
        else:
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
        publisher = self._served.publishers.get(device)
        if publisher is not None:
            publisher.publish_event(name, fields)

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
        self._served.on_quiet()
        self._outlet.values({"definitions_complete": True, **self._counts()})
        self._quiet = None
        if self._served.any_absent:
            self._quiet = self._loop.call_later(AGAIN, self._on_quiet)


def _is_of_blob(element: Element) -> bool:
    if isinstance(element, SetVector):
        return element.kind == "BLOB"
    return isinstance(element, (*BLOBS, indi.Skipped))
