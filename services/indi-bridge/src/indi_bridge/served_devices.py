"""Devices of a server that are on the bus: their names, publishers and ends."""

import asyncio
import logging
from collections.abc import Iterable

from busbar.bridge import BusbarError, Port, UnknownTarget, collisions, level
from indi_bridge.model import IndiDevice, ServerModel
from indi_bridge.publisher import DeviceMemory, Offered, VectorPublisher
from indi_bridge.settings import Server
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

# s that a device whose driver is gone stays offline; indiserver starts it again within
# 15 s (measured)
GONE = 30.0


class ServedDevices:
    """Puts the devices of a model on the bus, unless their names collide."""

    def __init__(
        self,
        port: Port,
        settings: Server,
        model: ServerModel,
        memories: dict[str, DeviceMemory],
        offered: Offered,
    ) -> None:
        self.publishers: dict[str, VectorPublisher] = {}  # by INDI name
        self.unflushed: set[VectorPublisher] = set()
        self._port = port
        self._settings = settings
        self._model = model
        self._memories = memories
        self._offered = offered
        self._loop = asyncio.get_running_loop()
        self._unserved: set[str] = set()
        # INDI name of a device whose driver is gone -> loop time
        self._absent: dict[str, float] = {}

    @property
    def any_absent(self) -> bool:
        return bool(self._absent)

    def named(self, name: str) -> VectorPublisher:
        """Return the publisher of a device of the bus; raise UnknownTarget."""
        for each in self.publishers.values():
            if each.name == name:
                return each
        raise UnknownTarget(f"the server has no device {name!r} at present")

    def on_defined(self, vector: Vector) -> None:
        """Take a definition; `flush` publishes it."""
        device = self._model.devices[vector.device]
        self._absent.pop(device.name, None)
        publisher = self._serve(device)
        if publisher is not None:
            self.mark(publisher, vector)

    def mark(self, publisher: VectorPublisher, vector: Vector) -> None:
        """Let a definition be published with the next flush."""
        publisher.on_defined(vector)
        self.unflushed.add(publisher)

    def flush(self) -> None:
        """Publish what is defined."""
        unflushed = self.unflushed
        self.unflushed = set()
        for publisher in unflushed:
            try:
                publisher.flush()
            except BusbarError as error:  # its name is another device's
                name = publisher.device.name
                log.warning(
                    "%s: %s is not served: %s", self._settings.name, name, error
                )
                self._unserved.add(name)
                self.publishers.pop(name, None)

    def on_driver_gone(self, publisher: VectorPublisher) -> None:
        """Take a device offline until its driver comes back or is given up."""
        self._absent[publisher.device.name] = self._loop.time()
        publisher.on_driver_gone()

    def on_quiet(self) -> None:
        """Remove what is not defined and has been gone for long enough."""
        now = self._loop.time()
        for device, since in list(self._absent.items()):
            if now - since >= GONE:
                del self._absent[device]
                self._memories.pop(device, None)
                self._remove(device)
        for publisher in self.publishers.values():
            publisher.drop_undefined()

    def _serve(self, device: IndiDevice) -> VectorPublisher | None:
        """Return the publisher of a defined device, None if it is not served."""
        name = device.name
        if name in self._unserved:
            return None
        publisher = self.publishers.get(name)
        if publisher is not None:
            publisher.device = device
            return publisher
        path = self._path(name)
        colliding = self._colliding()
        if name in colliding or path == self._settings.name:
            self._refuse({name, *colliding}, path)
            return None
        memory = self._memories.setdefault(name, DeviceMemory())
        made = VectorPublisher(
            self._port, self._settings, path, device, memory, self._offered
        )
        self.publishers[name] = made
        return made

    def _colliding(self) -> set[str]:
        """Return the INDI names of the devices that share a name on the bus."""
        names = (*self._model.devices, *self._absent)
        return collisions({name: self._path(name) for name in names})

    def _refuse(self, names: Iterable[str], path: str) -> None:
        """Serve none of the devices that share a path. Source: docs/contract.md, 1."""
        sharing = [name for name in names if self._path(name) == path]
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
        publisher = self.publishers.pop(device, None)
        if publisher is None:
            return
        self.unflushed.discard(publisher)
        if publisher.outlet is not None:
            self._port.vanish(publisher.name)

    def _path(self, device: str) -> str:
        """Return the name of a device on the bus."""
        given = self._settings.names.get(device)
        if given:
            return given
        if self._settings.prefix:
            return level(f"{self._settings.name} {device}")
        return level(device)
