"""What becomes of BLOBs that have come.

Published, described, their previews, who waits for them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from indi_bridge.actions import Exposed
from indi_bridge.blobs.fits import read_header
from indi_bridge.blobs.preview import jpeg
from indi_bridge.blobs.receive import Received
from indi_bridge.properties import Image, blob_name, preview_name
from indi_bridge.publisher import Surface
from indi_bridge.settings import Blobs
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

# s for an image after the exposure has ended: it has a connection of its own
WAIT = 60.0


class Images:
    """The images of one server."""

    def __init__(self, settings: Blobs) -> None:
        self.dropped = 0  # frames of videos that were too many
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._next: dict[str, float] = {}  # loop time of the next frame of a stream
        self._held: dict[str, tuple[Surface, Vector, Received]] = {}
        self._waiting: list[tuple[str, str, asyncio.Future[Exposed]]] = []
        self._previews: dict[str, asyncio.Task[None]] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def came(self, surface: Surface, vector: Vector, received: Received) -> None:
        """Take one; of a video no more than so many a second, the newest."""
        name = blob_name(vector, received.member)
        key, now = f"{surface.name}/{name}", self._loop.time()
        member = vector.members[received.member]
        member.filename, member.size = received.file or member.filename, received.size
        if received.stream and now < self._next.get(key, 0.0):
            self.dropped += key in self._held
            if key not in self._held:
                self._timers.add(
                    self._loop.call_at(self._next[key], self._release, key)
                )
            self._held[key] = (surface, vector, received)
            return
        self._next[key] = now + 1 / self._settings.stream
        self._publish(surface, vector, received)

    async def wait(
        self, device: str, vector: str, work: Callable[[], Awaitable[None]]
    ) -> Exposed:
        """Do work.

        Return the first image of a vector that has come since, null if none comes.
        """
        arrived: asyncio.Future[Exposed] = self._loop.create_future()
        entry = (device, vector, arrived)
        self._waiting.append(entry)
        try:
            await work()
            async with asyncio.timeout(WAIT):
                return await arrived
        except TimeoutError:
            log.info("%s: the exposure has ended, no image has come", device)
            return Exposed()
        finally:
            self._waiting.remove(entry)

    async def close(self) -> None:
        """End what is under way."""
        for timer in self._timers:
            timer.cancel()
        for task in self._previews.values():
            task.cancel()
        await asyncio.gather(*self._previews.values(), return_exceptions=True)

    def _release(self, key: str) -> None:
        self._timers = {
            timer
            for timer in self._timers
            if not timer.cancelled() and timer.when() > self._loop.time()
        }
        self._next[key] = self._loop.time() + 1 / self._settings.stream
        self._publish(*self._held.pop(key))

    def _publish(self, surface: Surface, vector: Vector, received: Received) -> None:
        name = blob_name(vector, received.member)
        about = self._about(name, received)
        if not surface.image(name, about, received.data, self._settings.retain):
            return
        self._preview(surface, name, received)
        for device, wanted, arrived in self._waiting:
            if (device, wanted) == (surface.name, vector.name) and not arrived.done():
                arrived.set_result(Exposed(name, about))

    def _about(self, name: str, received: Received) -> dict[str, Any]:
        header = read_header(received.head)
        preview = (
            preview_name(name)
            if self._settings.preview and header and received.data is not None
            else None
        )
        about = Image(
            received.size,
            received.content_type,
            received.file,
            received.format,
            received.sha256,
            received.time,
            header.cards if header else None,
            preview,
        )
        return dict(msgspec.to_builtins(about))

    def _preview(self, surface: Surface, name: str, received: Received) -> None:
        """Make a preview unless one of the same is being made."""
        key = f"{surface.name}/{name}"
        running = self._previews.get(key)
        if (
            self._settings.preview is None
            or received.data is None
            or (running and not running.done())
        ):
            return
        work = self._make_preview(surface, name, received)
        self._previews[key] = self._loop.create_task(work, name=f"preview of {key}")

    async def _make_preview(
        self, surface: Surface, name: str, received: Received
    ) -> None:
        try:
            made = await asyncio.to_thread(jpeg, received.data or b"")
        except (ValueError, MemoryError, OverflowError) as error:
            log.warning("no preview of %s/%s: %s", surface.name, name, error)
            return
        if made is not None:
            sum_ = hashlib.sha256(made).hexdigest()
            about = Image(len(made), "image/jpeg", None, ".jpg", sum_, received.time)
            surface.image(
                preview_name(name),
                dict(msgspec.to_builtins(about)),
                made,
                self._settings.retain,
            )
