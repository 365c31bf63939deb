"""The end of what a broker retains, which MQTT does not announce.

It has come when our own message, published behind the subscriptions, is back and
nothing contradicts that: something was retained, every device that was asked for is
there with all that its status promises (contract 3.1), and each bridge has as many
devices as it counts. Else, and where we may not publish, nothing retained has to come
for a while, in which the link brings no bytes either; and what is lacking is asked for
again, because a broker drops what its queue does not hold. Brokers differ: Mosquitto
sends our message behind all retained ones, aedes before some of them.
"""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from busbar.client.tracked_device import TrackedDevice
from busbar.contract.topics import BRIDGE
from busbar.mqtt.connection import Connection

QUIET = 0.3  # s without anything retained: that was all
SILENT = 1.5  # s without anything retained: our own message does not come
# Retained messages that brokers with narrow queues have dropped a part of. Where there
# are fewer, a bridge whose count is too high has just lost a device: it counts again
# every 10 s.
MANY = 100


class FirstPicture:
    """Waits for all that is retained, once for each connection.

    `publish` sends our own message, `ask` has the broker send again what it retains of
    devices (patterns), `patterns` are those that we follow.
    """

    def __init__(
        self,
        link: Connection,
        publish: Callable[[bytes], None],
        ask: Callable[[Iterable[str]], Awaitable[None]],
        tracked: Mapping[str, TrackedDevice],
        patterns: Iterable[str],
    ) -> None:
        self.retained = 0  # messages
        self.late = 0  # of them behind our own, which was published after all of them
        self.proven = False  # our own message has come back
        self._link = link
        self._publish = publish
        self._ask = ask
        self._tracked = tracked
        self._patterns = list(patterns)
        self._mark = b""
        self._returned = asyncio.Event()
        self._denied = False
        self._loop = asyncio.get_running_loop()
        self._last_retained = self._last_live = self._loop.time()

    async def complete(self) -> str:
        """Return when all has come that comes; if not all came, what is missing."""
        asked: set[str] = set()
        while True:
            self.proven = await self._has_returned()
            if not self.proven or self._is_doubtful():
                await self._quiet()
            lacking = self._lacking() | self._short()
            if not lacking or lacking == asked:
                return self._missing(lacking)
            asked = lacking
            await self._ask(asked)

    def take(self, *, retained: bool) -> None:
        """Take that a message of a device has come."""
        if not retained:
            self._last_live = self._loop.time()
            return
        self._last_retained = self._loop.time()
        self.retained += 1
        if self.proven:
            self.late += 1

    def take_own(self, payload: bytes) -> None:
        """Take our own message, perhaps an older one."""
        if payload == self._mark:
            self.proven = True
            self._returned.set()

    def take_denied(self) -> None:
        """Take that we may not publish."""
        self._denied = True
        self._returned.set()

    async def _has_returned(self) -> bool:
        """Publish our own message; return whether it came back."""
        if self._denied:
            return False
        self.proven = False
        self._returned.clear()
        self._mark = secrets.token_hex(4).encode()
        self._publish(self._mark)
        published = self._loop.time()
        while not self._returned.is_set():
            left = max(published, self._last_coming) + SILENT - self._loop.time()
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._returned.wait()
        return not self._denied

    async def _quiet(self) -> None:
        begun = self._loop.time()
        while True:
            left = max(begun, self._last_coming) + QUIET - self._loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    @property
    def _last_coming(self) -> float:
        """Loop time (s) of the last retained message, or bytes of one that is long."""
        part = self._link.last_part
        if part > self._last_live:
            return max(self._last_retained, part)
        return self._last_retained

    def _is_doubtful(self) -> bool:
        if not self.retained or self._lacking() or self._short():
            return True
        exact = [each for each in self._patterns if "+" not in each]
        return any(each not in self._tracked for each in exact)

    def _lacking(self) -> set[str]:
        return {each.device for each in self._tracked.values() if each.lacking}

    def _short(self) -> set[str]:
        """Return the bridges, as patterns, that count more devices than we know."""
        known: Counter[str] = Counter()
        for name in self._tracked:
            known[name.partition("/")[0]] += 1
        short = set()
        for pattern in self._patterns:
            for bridge, count in known.items():
                if pattern in ("+/+", f"{bridge}/+") and self._count(bridge) >= count:
                    short.add(f"{bridge}/+")
        return short

    def _count(self, bridge: str) -> int:
        """Return how many devices a bridge that lives has besides itself."""
        tracked = self._tracked.get(f"{bridge}/{BRIDGE}")
        if tracked is None or tracked.status is None:
            return 0
        count = tracked.values.get("devices")
        if tracked.status.state == "online" and isinstance(count, int):
            return count
        return 0

    def _missing(self, lacking: set[str]) -> str:
        """Return what is missing in words.

        Nothing where our own message proves that the broker has no more.
        """
        short = sorted(self._short())
        if short and self.retained >= MANY:
            return (
                f"the bridge {short[0].partition('/')[0]} counts more devices than the "
                f"broker has sent; its queue may be too short (max_queued_messages)"
            )
        part = lacking - set(short)
        if not part or self.proven:
            return ""
        unknown = sorted(name for name in part if self._tracked[name].info is None)
        if unknown:
            return (
                f"no info of {len(unknown)} devices has come, {unknown[0]} among them; "
                f"is it larger than the broker takes? see the log of the bridge"
            )
        return f"of {len(part)} devices, {min(part)} among them, a part"
