"""What a server tells, element by element: into the model, from there to the bus.

What has to be asked in turn.
"""

import asyncio
import logging
import time as clock
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from busbar.bridge import BusbarError, Command, Port, UnknownTarget, collisions, level
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
from indi_bridge.blobs.publish import Images
from indi_bridge.blobs.receive import Receiver
from indi_bridge.pending import Pending
from indi_bridge.publisher import Commanded, Kept, Late, Surface, Unheard, note
from indi_bridge.settings import Server, matches
from indi_bridge.vectors import Model, Told, Vector

log = logging.getLogger("busbar.indi")

BLOBS = (indi.BlobStart, indi.BlobData, indi.BlobEnd)
QUIET = 1.0  # s without a definition: that was all of them
# s that a device whose driver is gone stays offline; indiserver starts it again within
# 15 s (measured)
GONE = 30.0


class Observatory:
    """The devices of one server on the bus, as long as one connection lasts."""

    def __init__(
        self, port: Port, settings: Server, kept: dict[str, Kept], commands: Mapping[str, Command], receiver: Receiver,
        ask: Callable[[Element], None], blobs: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self.model = Model()
        self.images = Images(settings.blobs)
        self.pending = Pending(self._late, self._unheard, settings.timeouts.patience)
        self._port, self._settings, self._kept, self._commands = (
            port,
            settings,
            kept,
            commands,
        )
        self._receiver, self._ask, self._blobs = receiver, ask, blobs
        self._own = port.outlet(settings.name)
        self._surfaces: dict[str, Surface] = {}  # by INDI name
        self._unserved: set[str] = set()
        # INDI name of a device whose driver is gone -> loop time
        self._absent: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._quiet: asyncio.TimerHandle | None = None
        self.defining = asyncio.Event()  # a definition has come
        self._dirty: set[Surface] = set()
        self._complete = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            DefVector: self._define,
            SetVector: self._set,
            Message: self._message,
            DelProperty: self._delete,
            NewVector: self._commanded,
            GetProperties: self._snooped,
            indi.BlobStart: receiver.start,
            indi.BlobData: receiver.data,
            indi.BlobEnd: self._blob_end,
            indi.Skipped: self._skipped,
        }

    def start(self) -> None:
        """The link is up."""
        self._own.values(
            {"messages": [], "definitions_complete": False, **self._counts()}
        )
        self._settle_later()

    def take(self, elements: list[Element]) -> None:
        """Take a batch from the connection for values.

        BLOBs that a server sends there unasked would mix with ours.
        """
        self._take(each for each in elements if not isinstance(each, BLOBS))

    def _take(self, elements: Iterable[Element]) -> None:
        for each in elements:
            if handler := self._handlers.get(type(each)):
                handler(each)
        if self._dirty:
            self._flush()

    def take_blobs(self, elements: list[Element]) -> None:
        """Take a batch from the connection for BLOBs.

        These only, the rest comes on the other one.
        """
        wanted = (*BLOBS, indi.Skipped)
        self._take(
            e
            for e in elements
            if isinstance(e, wanted) or (isinstance(e, SetVector) and e.kind == "BLOB")
        )

    async def close(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self.pending.close()
        self._receiver.drop()
        await self.images.close()

    def surface(self, device: str) -> Surface:
        """Return the surface of a device of the bus; raise UnknownTarget."""
        for each in self._surfaces.values():
            if each.name == device:
                return each
        raise UnknownTarget(f"the server has no device {device!r} at present")

    def original(self, device: str) -> str:
        """Return the INDI name of a device given by that or by its name on the bus.

        Raise UnknownTarget.
        """
        name = (
            device if device in self.model.devices else self.surface(device).device.name
        )
        if name not in self.model.devices:
            raise UnknownTarget(f"the driver of {device!r} is gone at present")
        return name

    def publish_counts(self, **more: Any) -> None:
        """Publish what the server's own device tells of the connection."""
        self._own.values(self._counts() | more)

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

    def _define(self, definition: DefVector) -> None:
        device, name = definition.device, definition.name
        if not self._settings.devices.has(device):
            return
        known = self.model.find(device, name)
        vector = self.model.define(definition, clock.time())
        if vector is None:
            return
        self._absent.pop(device, None)
        self._mark(self._serve(device), vector)
        self.pending.heard(vector)
        self._said(device, definition.message, vector.time)
        self.defining.set()
        self._settle_later()
        if (
            vector.kind == "BLOB"
            and vector.perm != "wo"
            and self._settings.blobs.mode != "never"
        ):
            self._blobs(device, name)
        if (
            known is None
            and name == "CONNECTION"
            and matches(self._settings.connect, device)
        ):
            self._connect(vector)

    def _connect(self, vector: Vector) -> None:
        """Switch a device on that has just come, at the start or with a driver that was started anew."""
        member = vector.members.get("CONNECT")
        if member is not None and member.value != "On":
            self._ask(
                NewVector("Switch", vector.device, vector.name, {"CONNECT": "On"})
            )

    def _set(self, news: SetVector) -> None:
        vector = self.model.find(news.device, news.name)
        # drivers do so when they connect. Source: docs/protocols/indi.md, 4.6
        if vector is None or vector.kind != news.kind:
            self.model.ignored += 1
            return
        if self._surfaces.get(news.device) in self._dirty:
            self._flush()
        redefined = vector.apply(news, clock.time())
        surface = self._surfaces.get(news.device)
        if surface is not None:
            if redefined:
                self._mark(surface, vector)
            else:
                surface.changed(vector)
            surface.received(vector)
        self.pending.heard(vector)
        if news.message:
            self._said(news.device, news.message, vector.time)

    def _message(self, message: Message) -> None:
        if message.device and not self._settings.devices.has(message.device):
            return
        self._said(message.device, message.text, indi.parse_time(message.timestamp))

    def _said(self, device: str, text: str, time: float | None) -> None:
        if not text:
            return
        told = Told(clock.time() if time is None else time, text)
        self.model.tell(device, told)
        self.pending.said(device, text)
        if any(
            each.device.name == device and each.outlet is None for each in self._dirty
        ):
            self._flush()  # events are of what is on the bus
        if surface := self._surfaces.get(device):
            surface.told(told)
        else:
            self._own.event("message", note(told))
            self._own.values({"messages": [note(each) for each in self.model.messages]})

    def _delete(self, gone: DelProperty) -> None:
        surface = self._surfaces.get(gone.device)
        self._said(gone.device, gone.message, indi.parse_time(gone.timestamp))
        vectors = self.model.delete(gone.device, gone.name)
        self.pending.deleted(gone.device, gone.name)
        if surface is not None:
            surface.deleted(vectors)
            if not gone.name or not surface.device.vectors:
                self.model.delete(gone.device, "")
                self._absent[gone.device] = self._loop.time()
                surface.gone("the driver is gone")
        self._settle_later()

    def _commanded(self, new: NewVector) -> None:
        """Another client has asked for something; the server passes it on.

        Source: docs/protocols/indi.md, 2.3.
        """
        self.pending.asked_by_another(new.device, new.name)
        if surface := self._surfaces.get(new.device):
            surface.event("command", Commanded(level(new.name), new.members))

    def _snooped(self, asked: GetProperties) -> None:
        """A driver or a chained server asks for properties of others."""
        self._own.event("snoop", {"device": asked.device, "vector": asked.name})

    def _blob_end(self, end: indi.BlobEnd) -> None:
        received = self._receiver.end(end)
        if received is None:
            return
        vector = self.model.find(received.device, received.vector)
        surface = self._surfaces.get(received.device)
        if vector is None or surface is None or received.member not in vector.keys:
            self.model.ignored += 1
            return
        self.images.came(surface, vector, received)

    def _skipped(self, skipped: indi.Skipped) -> None:
        log.info("%s: skipped %s: %r", self._settings.name, skipped.why, skipped.data)

    def _mark(self, surface: Surface | None, vector: Vector) -> None:
        if surface is not None:
            surface.defined(vector)
            self._dirty.add(surface)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for surface in dirty:
            try:
                surface.flush()
            except BusbarError as error:  # its name is another device's
                log.warning(
                    "%s: %s is not served: %s",
                    self._settings.name,
                    surface.device.name,
                    error,
                )
                self._unserved.add(surface.device.name)
                self._surfaces.pop(surface.device.name, None)

    def _serve(self, device: str) -> Surface | None:
        """Return the surface of a device that is defined, None if it is not served."""
        if device in self._unserved:
            return None
        if (surface := self._surfaces.get(device)) is not None:
            surface.device = self.model.devices[device]
            return surface
        names = {
            name: self._name(name) for name in (*self.model.devices, *self._absent)
        }
        doubled = collisions(names)
        if device in doubled or names[device] == self._settings.name:
            self._refuse({device, *doubled}, names[device])
            return None
        kept = self._kept.setdefault(device, Kept())
        made = Surface(
            self._port,
            self._settings,
            names[device],
            self.model.devices[device],
            kept,
            self._commands,
        )
        self._surfaces[device] = made
        return made

    def _refuse(self, doubled: set[str], path: str) -> None:
        """Two names meet: neither is served. Source: docs/contract.md, 1."""
        both = [name for name in doubled if self._name(name) == path]
        log.warning(
            ("%s: %s have one name on the bus, %s: set `names:`"),
            self._settings.name,
            both,
            path,
        )
        for name in both:
            self._unserved.add(name)
            self._absent.pop(name, None)
            if (surface := self._surfaces.pop(name, None)) is not None:
                self._dirty.discard(surface)
                if surface.outlet is not None:
                    self._port.vanish(surface.name)

    def _name(self, device: str) -> str:
        given = self._settings.names.get(device)
        return given or level(
            f"{self._settings.name} {device}" if self._settings.prefix else device
        )

    def _settle_later(self) -> None:
        """Count the quiet time anew."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(QUIET, self._settle)
        if self._complete:
            self._complete = False
            self._own.values({"definitions_complete": False})

    def _settle(self) -> None:
        """It has been quiet: all is defined, and what is not is gone."""
        self._complete = True
        now = self._loop.time()
        for device, since in list(self._absent.items()):
            if now - since >= GONE:
                del self._absent[device]
                self._kept.pop(device, None)
                if (surface := self._surfaces.pop(device)).outlet is not None:
                    self._port.vanish(surface.name)
        for surface in self._surfaces.values():
            surface.settle()
        self._own.values({"definitions_complete": True, **self._counts()})
        self._quiet = (
            self._loop.call_later(GONE / 3, self._settle) if self._absent else None
        )

    def _late(
        self, vector: Vector, state: str, took: float, messages: list[str]
    ) -> None:
        if surface := self._surfaces.get(vector.device):
            surface.event("late", Late(vector.path, state, took, messages))

    def _unheard(self, vector: Vector, seconds: float) -> None:
        if surface := self._surfaces.get(vector.device):
            surface.event("timeout", Unheard(vector.path, seconds))
