"""Reading back what the broker retains under our own prefix.

Source: docs/contract.md, 5.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from busbar.contract import messages
from busbar.contract.messages import Fault, Status
from busbar.errors import Offline
from busbar.mqtt.connection import Connection
from busbar.mqtt.reconnect import Received, SubscriptionRefused
from busbar.publish.device import BridgeContext, DevicePublisher

log = logging.getLogger("busbar.leftovers")

NEVER_RETAINED = frozenset({"event", "reply"})  # by us
QUIET = 0.3  # s without another retained message: that was all
LONGEST = 20.0  # s, while they come; `clean` has 30


class RetainedCleanup:
    """Collects the retained topics of one bridge, clears those of no device."""

    def __init__(
        self,
        context: BridgeContext,
        find: Callable[[str], tuple[DevicePublisher, Any] | None],
    ) -> None:
        self._context = context
        self._find = find
        self._topics = context.topics
        self._begun = False
        self._old: set[str] = set()  # what a process before us has left
        self._found: set[str] | None = None
        self._busy = asyncio.Lock()

    def on_retained(self, received: Received) -> None:
        """Take note of a retained message that is not a command."""
        if self._found is not None and received.payload:
            self._found.add(received.topic)

    async def begin(self, link: Connection, *, may_appear: bool) -> None:
        """Clear what was left over before our first connection.

        Devices that may appear are offline until they do.
        """
        if not self._begun:
            self._old = await self.collect(link)
            self._begun = True
        # on each connection: the one before may have ended too soon for it
        if may_appear:
            self._mark_missing()
        self.clear(settled=not may_appear)

    def clear(self, *, settled: bool) -> None:
        """Clear what nobody will publish again.

        settled: devices that are not there now will not appear.
        """
        for topic in list(self._old):
            nobodys = self._is_nobodys(topic, settled)
            if nobodys is None:
                continue
            self._old.discard(topic)
            if nobodys:
                log.info("removing the left-over topic %s", topic)
                self._context.outbox.clear(topic)

    def _mark_missing(self) -> None:
        text = "the device has not appeared since the bridge started"
        now = round(self._context.now(), 6)
        boot = self._context.boot
        status = Status("offline", now, boot, 0, 0, Fault(Offline.code, text))
        payload = messages.encode(status)
        for topic in self._old:
            address = self._topics.parse(topic)
            if address is None or address.channel != "status":
                continue
            if self._find(address.device) is None:
                self._context.outbox.retain(topic, lambda: payload)

    def _is_nobodys(self, topic: str, settled: bool) -> bool | None:
        """Return whether a topic is nobody's, None if that cannot be said yet."""
        address = self._topics.parse(topic)
        if address is None:
            return False
        if address.channel in NEVER_RETAINED:
            return True
        found = self._find(address.device)
        if found is None:
            return settled or None
        if address.channel != "state" or not address.path:
            return False
        return self._is_dead_leaf(found[0], address.path)

    def _is_dead_leaf(self, device: DevicePublisher, path: str) -> bool | None:
        about = device.description.find(path)
        if about is None or not self._context.leaf(path):
            return True
        if path in device.state.values or "{" not in about.path:
            return False  # it has been published again, or will be
        # a member of a family that is at its default now
        return True if device.status == "online" else None

    async def collect(self, link: Connection) -> set[str]:
        """Return the topics of ours that the broker retains, commands excepted."""
        async with self._busy:
            return await self._collect(link)

    async def _collect(self, link: Connection) -> set[str]:
        self._found = set()
        wanted = [*self._topics.leftovers, *self._topics.garbage]
        try:
            await self._subscribe(link, wanted)
            async with asyncio.timeout(LONGEST):
                count = -1
                part = 0.0  # the last bytes of one that is long
                while (count, part) != (len(self._found), link.last_part):
                    count = len(self._found)
                    part = link.last_part
                    await asyncio.sleep(QUIET)
        except TimeoutError:
            log.warning(
                "more than %d retained topics under our prefix; looked at these only",
                len(self._found),
            )
        finally:
            found, self._found = self._found, None
            await link.unsubscribe(wanted)
        return found

    async def _subscribe(self, link: Connection, filters: list[str]) -> None:
        """Subscribe to what the broker lets us read."""
        try:
            await link.subscribe(filters)
        except SubscriptionRefused as error:
            log.info("retained topics there are not looked at: %s", error)
