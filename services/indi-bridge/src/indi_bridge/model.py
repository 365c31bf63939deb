"""Model of one server: its devices, their vectors and messages.

No I/O, no bus.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from busbar.codecs.indi import DefVector
from indi_bridge.vectors import MEMBERS, Vector, make_vector

MESSAGES = 8  # kept of a device and of the server
DEVICES = 500  # of one server; more are ignored
VECTORS = 2000  # of one device; more are ignored


class TimedMessage(NamedTuple):
    """One message: Unix time (s) and text."""

    time: float
    text: str


def _last_messages() -> deque[TimedMessage]:
    """Return a queue of messages, the newest first."""
    return deque(maxlen=MESSAGES)


@dataclass
class IndiDevice:
    """One device of a server."""

    name: str
    vectors: dict[str, Vector] = field(default_factory=dict)
    messages: deque[TimedMessage] = field(default_factory=_last_messages)


class ServerModel:
    """All devices of one server."""

    def __init__(self) -> None:
        self.devices: dict[str, IndiDevice] = {}
        self.messages = _last_messages()
        self.ignored = 0  # elements about what is not defined, or too much

    def find(self, device: str, vector: str) -> Vector | None:
        found = self.devices.get(device)
        return found.vectors.get(vector) if found else None

    def define(self, definition: DefVector, now: float) -> Vector | None:
        """Take a definition; return its vector, None if there are too many already."""
        device = self._device_for(definition)
        if device is None:
            self.ignored += 1
            return None
        self.ignored += max(0, len(definition.members) - MEMBERS)
        vector = make_vector(definition, now)
        old = device.vectors.get(vector.name)
        if old is not None:
            vector.inherit(old)
        device.vectors[vector.name] = vector
        return vector

    def _device_for(self, definition: DefVector) -> IndiDevice | None:
        """Return the device that takes a definition, None if there is no room."""
        device = self.devices.get(definition.device)
        if device is not None:
            known = definition.name in device.vectors
            return device if known or len(device.vectors) < VECTORS else None
        if len(self.devices) >= DEVICES:
            return None
        device = IndiDevice(definition.device)
        self.devices[device.name] = device
        return device

    def delete(self, device: str, vector: str) -> list[Vector]:
        """Delete a vector, or with "" a device; return the vectors that are gone."""
        found = self.devices.get(device)
        if found is None:
            return []
        if vector:
            gone = found.vectors.pop(vector, None)
            return [gone] if gone else []
        del self.devices[device]
        return list(found.vectors.values())

    def keep_message(self, device: str, message: TimedMessage) -> None:
        """Keep a message of a device; of the server if the device is not known."""
        found = self.devices.get(device)
        messages = found.messages if found else self.messages
        messages.appendleft(message)

    def vectors(self) -> Iterator[Vector]:
        for device in self.devices.values():
            yield from device.vectors.values()
