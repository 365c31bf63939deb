"""The retained topics of a device's single values: which there are, when each is sent.

Source: docs/contract.md, 1.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from busbar.contract import messages
from busbar.mqtt.outbox import OVERHEAD, Outbox
from busbar.publish.change_rate import ChangeRate

PACE = 0.2  # s between leaves of one property while values change fast

Payload = Callable[[], bytes | None]


class ValueTopics:
    """The leaves of one device; `values` are its values as they are at any time."""

    def __init__(
        self,
        outbox: Outbox,
        pace: ChangeRate,
        wanted: Callable[[str], bool],
        topic: Callable[[str], str],
        values: Mapping[str, Any],
    ) -> None:
        self._outbox = outbox
        self._pace = pace
        self._wanted = wanted
        self._topic = topic
        self._values = values
        self._loop = asyncio.get_running_loop()
        self._payloads: dict[str, Payload | None] = {}  # None: not wanted
        self._late: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def changed(self, paths: Iterable[str]) -> None:
        """Send these, a little later while very much changes."""
        self._late.update(paths)
        if not self._pace.fast:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(PACE, self.flush)

    def flush(self) -> None:
        """Send what is late."""
        self.close()
        late, self._late = self._late, set()
        for path in late:
            if path in self._values:  # else it has gone at once
                self._put(path, wake=True)

    def announce(self) -> None:
        """Send all."""
        for path in self._values:
            self._put(path, wake=False)
        self._outbox.wake()

    def is_newest(self, path: str, payload: bytes) -> bool:
        """Return whether this is what the leaf should hold, empty for nothing."""
        wanted = path in self._values and self._wanted(path)
        return payload == (self._payload(path) if wanted else b"")

    def republish(self, path: str) -> None:
        """Send the leaf again, or clear what should not be there."""
        if path in self._values and self._wanted(path):
            self._put(path, wake=True)
        else:
            self._outbox.clear(self._topic(path))

    def remove(self, path: str) -> None:
        """Clear the leaf of a property that is gone."""
        self._late.discard(path)
        if self._payloads.pop(path, None):
            self._outbox.clear(self._topic(path))

    def remove_all(self) -> None:
        for path in list(self._payloads):
            self.remove(path)

    def close(self) -> None:
        """Send nothing late any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, path: str, *, wake: bool) -> None:
        if path not in self._payloads:
            self._payloads[path] = (
                partial(self._payload, path) if self._wanted(path) else None
            )
        payload = self._payloads[path]
        if payload is not None:
            self._outbox.leaf(self._topic(path), payload, wake=wake)

    def _payload(self, path: str) -> bytes | None:
        """Return what the leaf holds; nothing for a value that does not fit.

        Its older value would pass for good.
        """
        if path not in self._values:
            return None
        payload = messages.encode(self._values[path])
        size = len(payload) + len(self._topic(path).encode()) + OVERHEAD
        return payload if size <= self._outbox.limit else b""
