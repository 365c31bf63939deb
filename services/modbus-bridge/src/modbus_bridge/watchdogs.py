"""Registers that are written again and again, so that the unit knows that we live.

They have no clock: the caller gives the time (s).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modbus_bridge.settings import Device, WatchDog


class Write(NamedTuple):
    """What is due to be written."""

    device: str
    path: str
    value: Any


@dataclass
class _Dog:
    device: str
    settings: WatchDog
    value: Any = None
    due: float = math.inf
    lapses: float = math.inf


class WatchDogs:
    """All watchdogs of a line."""

    def __init__(self, devices: Mapping[str, Device], now: float) -> None:
        self._dogs = [
            _Dog(name, each, each.value)
            for name, device in devices.items()
            for each in device.watch_dog
        ]
        for dog in self._dogs:
            if dog.value is not None:
                dog.due = now

    def next_due(self) -> float:
        """Return when one is due; infinity if none is."""
        return min(
            (min(each.due, each.lapses) for each in self._dogs), default=math.inf
        )

    def note_set(self, device: str, path: str, value: Any, now: float) -> None:
        """Take over what was set."""
        for dog in self._of(device, path):
            if dog.settings.value is not None:
                continue
            dog.value = value
            dog.due = now + dog.settings.every
            if dog.settings.lapse is not None:
                dog.lapses = now + dog.settings.lapse

    def take_due(self, now: float) -> list[Write]:
        """Return what is to be written now, and plan the next time."""
        found = []
        for dog in self._dogs:
            if dog.lapses <= now:
                dog.due = dog.lapses = math.inf
                if dog.settings.fallback is not None:
                    fallback = dog.settings.fallback
                    found.append(Write(dog.device, dog.settings.path, fallback))
            elif dog.due <= now:
                dog.due = now + dog.settings.every
                found.append(Write(dog.device, dog.settings.path, dog.value))
        return found

    def _of(self, device: str, path: str) -> Iterable[_Dog]:
        return (
            dog
            for dog in self._dogs
            if dog.device == device and dog.settings.path == path
        )
