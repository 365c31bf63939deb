"""Arrivals at subscribers of the INDI bridge, with their times."""

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from busbar.contract.messages import ChangeEvent
from tests.bench import indi_server

SILENCE = 2.0  # s without any more: the rest is lost
POLL = 0.02  # s
LIMIT = 30.0  # s until the observatory is on the bus


class Changes:
    """Sets and images of the camera, as `event/change` has them."""

    def __init__(self) -> None:
        self._names = set(indi_server.changing())
        self._image = f"{indi_server.camera()}_M0"
        self._decode = msgspec.json.Decoder(ChangeEvent).decode
        self._last = 0  # ns
        self._sets: list[tuple[str, float]] = []
        self._ages: list[float] = []  # us, of values that are the time
        self._images = 0

    def on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        now = time.monotonic_ns()
        for change in self._decode(message.payload).changes:
            if change.path in self._names:
                value = change.value["M0"]
                self._sets.append((change.path, value))
                self._ages.append(now / 1000 - value)
            elif change.path == self._image:
                self._images += 1
            self._last = now

    def came(self, count: int) -> list[tuple[str, float]]:
        """Wait for so many sets, or until no more come; return them."""
        self._until(lambda: len(self._sets) >= count)
        found = self._sets
        self._forget()
        return found

    def aged(self, count: int) -> list[float]:
        """Return how old so many values were (us)."""
        self._until(lambda: len(self._ages) >= count)
        found = self._ages
        self._forget()
        return found

    def images(self, count: int) -> int:
        """Wait for so many images, or until no more come; return how many."""
        self._until(lambda: self._images >= count)
        seen = self._images
        self._images = 0
        return seen

    def _forget(self) -> None:
        self._sets = []
        self._ages = []

    def _until(self, complete: Callable[[], bool]) -> None:
        began = time.monotonic_ns()
        while not complete():
            silence = time.monotonic_ns() - max(began, self._last)
            if silence >= SILENCE * 1e9:
                return
            time.sleep(POLL)


class Definitions:
    """All vectors: described in `info`, and with a value of their own."""

    def __init__(self) -> None:
        vectors = indi_server.observatory()
        self._undescribed = {(each.device, each.name) for each in vectors}
        self._unknown = set(self._undescribed)
        self._values: dict[str, dict[str, Any]] = {}
        for name in indi_server.SIZES:
            self._values[name] = {}
        self._at = 0  # ns
        self._complete = threading.Event()

    def on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        now = time.monotonic_ns()
        device, channel, *path = message.topic.split("/")[2:]
        if device not in self._values or self._complete.is_set():
            return
        fields = msgspec.json.decode(message.payload)
        if channel == "info":
            for name in fields["properties"]:
                self._undescribed.discard((device, name))
        else:
            name = path[0]
            self._values[device][name] = fields
            self._unknown.discard((device, name))
        if not self._undescribed and not self._unknown:
            self._at = now
            self._complete.set()

    def wait(self) -> dict[str, Any]:
        """Return when the last was there (ns), and all values.

        Raise RuntimeError.
        """
        if not self._complete.wait(LIMIT):
            raise RuntimeError(
                f"{len(self._undescribed)} are not described, {len(self._unknown)} "
                f"have no value"
            )
        return {"at": self._at, "values": self._values}


class Images:
    """Images as a whole."""

    def __init__(self) -> None:
        self._seen = threading.Semaphore(0)
        self._image = b""  # the last

    def on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        self._image = message.payload
        self._seen.release()

    def wait(self) -> int:
        """Return how many have come of one."""
        return int(self._seen.acquire(timeout=LIMIT))

    def sum(self) -> str:
        """Return the SHA-256 of the last."""
        return hashlib.sha256(self._image).hexdigest()
