"""Repair of retained topics of ours on which somebody else has published.

With MQTT 5 the broker is asked for messages of others only, on status, info and all
values. MQTT 3.1.1 cannot tell them apart: there our own status and info, which are
rare, come back and are recognised; what we say of values is not asked for, it would
double the traffic of the bridge, and is right again with the next snapshot, at the
latest after a minute.

Source: docs/contract.md, 5.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from busbar.contract.topics import Address
from busbar.publish.device import DevicePublisher

log = logging.getLogger("busbar.repair")

# s for the echo of what we have sent since: an older message of ours is no forgery
GRACE = 0.2
PAUSE = 1.0  # s between repairs, however much is published by others
LIMIT = 10_000  # topics of one repair; beyond that the heartbeat has to do
CHANNELS = frozenset({"status", "info", "state"})


class RetainedRepair:
    """Publishes again what others have overwritten or cleared."""

    def __init__(
        self, find: Callable[[str], tuple[DevicePublisher, Any] | None]
    ) -> None:
        self._find = find
        self._loop = asyncio.get_running_loop()
        self._wrong: set[Address] = set()
        self._last = -PAUSE
        self._due: asyncio.TimerHandle | None = None

    def on_published(self, address: Address, payload: bytes) -> None:
        """Take note of a message that somebody has just published: perhaps us."""
        found = self._find(address.device)
        if found is None or address.channel not in CHANNELS:
            return
        if found[0].holds(address.channel, address.path, payload):
            self._wrong.discard(address)
            return
        if len(self._wrong) < LIMIT:
            self._wrong.add(address)
        if self._due is None:
            at = max(self._loop.time() + GRACE, self._last + PAUSE)
            self._due = self._loop.call_at(at, self._repair)

    def forget(self) -> None:
        """Everything is about to be published, or nothing can be."""
        self._wrong.clear()
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _repair(self) -> None:
        self._due = None
        self._last = self._loop.time()
        wrong, self._wrong = self._wrong, set()
        topic = ""
        for address in wrong:
            found = self._find(address.device)
            if found is not None:
                topic = found[0].topic(address.channel, address.path)
                found[0].republish(address.channel, address.path)
        if topic:
            log.info("others have overwritten %s (%d topics)", topic, len(wrong))
