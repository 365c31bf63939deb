"""Publisher of BLOBs: frame rate, description, preview, and who waits for them."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from busbar.bridge import BlobOutcome, DeviceTimeout
from indi_bridge.blobs.fits import FitsHeader, read_header
from indi_bridge.blobs.preview import jpeg
from indi_bridge.blobs.receive import ReceivedBlob
from indi_bridge.properties import Image, blob_name, preview_name
from indi_bridge.publisher import VectorPublisher
from indi_bridge.settings import Blobs
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")

# s for an image after the exposure has ended: it has its own connection
WAIT = 60.0


class Exposed(msgspec.Struct, frozen=True):
    """Result of `expose`: the blob and what its property says.

    Null if images do not come here.
    """

    blob: str | None = None
    about: dict[str, Any] | None = None


@dataclass(frozen=True)
class Frame:
    """One BLOB, and the publisher of its device."""

    publisher: VectorPublisher
    vector: Vector
    received: ReceivedBlob

    @property
    def name(self) -> str:
        return blob_name(self.vector, self.received.member)

    @property
    def key(self) -> str:
        return f"{self.publisher.name}/{self.name}"


@dataclass(eq=False)
class Waiter:
    """Someone who waits for the next image of a vector."""

    device: str
    vector: str
    image: asyncio.Future[Exposed]

    def take(
        self, name: str, about: dict[str, Any], became: "asyncio.Future[BlobOutcome]"
    ) -> None:
        """Take what became of an image; the first one counts."""
        if self.image.done() or became.cancelled():
            return
        outcome = became.result()
        if outcome.error is not None:
            self.image.set_exception(outcome.error)
        else:
            self.image.set_result(Exposed(name, {**about, "file": outcome.file}))


class BlobPublisher:
    """Publishes the BLOBs of one server."""

    def __init__(self, settings: Blobs) -> None:
        self.dropped = 0  # frames of videos that were too many
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._due: dict[str, float] = {}  # loop time of the next frame of a video
        self._held: dict[str, Frame] = {}  # the newest that came before it is due
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiters: list[Waiter] = []
        self._previews: dict[str, asyncio.Task[None]] = {}

    def publish(self, frame: Frame) -> None:
        """Publish a BLOB; of a video so many frames a second, the newest."""
        received = frame.received
        key = frame.key
        now = self._loop.time()
        member = frame.vector.members[received.member]
        member.filename = received.file or member.filename
        member.size = received.size
        if received.is_frame and now < self._due.get(key, 0.0):
            self._hold(frame)
            return
        self._due[key] = now + 1 / self._settings.stream
        self._publish(frame)

    async def wait(
        self, device: str, vector: str, work: Callable[[], Awaitable[None]]
    ) -> Exposed:
        """Do work; return the first image of a vector since.

        Raise DeviceTimeout if none comes, TooLarge if nobody can get it.
        """
        waiter = Waiter(device, vector, self._loop.create_future())
        self._waiters.append(waiter)
        try:
            await work()
            async with asyncio.timeout(WAIT):
                return await waiter.image
        except TimeoutError as error:
            text = f"the exposure has ended, and no image has come within {WAIT:g} s"
            raise DeviceTimeout(text) from error
        finally:
            self._waiters.remove(waiter)
            if waiter.image.done() and not waiter.image.cancelled():
                waiter.image.exception()  # perhaps the work has failed before

    async def close(self) -> None:
        """End what is under way."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._previews.values():
            task.cancel()
        await asyncio.gather(*self._previews.values(), return_exceptions=True)

    def _hold(self, frame: Frame) -> None:
        """Hold a frame until it is due, in place of an older one."""
        key = frame.key
        if key in self._held:
            self.dropped += 1
        else:
            timer = self._loop.call_at(self._due[key], self._release, key)
            self._timers[key] = timer
        self._held[key] = frame

    def _release(self, key: str) -> None:
        del self._timers[key]
        self._due[key] = self._loop.time() + 1 / self._settings.stream
        self._publish(self._held.pop(key))

    def _publish(self, frame: Frame) -> None:
        received = frame.received
        name = frame.name
        about = self._about(name, received)
        retain = self._settings.retain
        outcome = frame.publisher.publish_image(name, about, received.data, retain)
        if outcome is None:
            return
        self._start_preview(frame)
        target = (frame.publisher.name, frame.vector.name)
        for waiter in self._waiters:
            if (waiter.device, waiter.vector) == target:
                outcome.add_done_callback(partial(waiter.take, name, about))

    def _about(self, name: str, received: ReceivedBlob) -> dict[str, Any]:
        """Return what the property of a BLOB says of it."""
        header = read_header(received.head)
        about = Image(
            received.size,
            received.content_type,
            received.file,
            received.format,
            received.sha256,
            received.time,
            header.cards if header else None,
            self._preview_of(name, header, received),
        )
        return dict(msgspec.to_builtins(about))

    def _preview_of(
        self, name: str, header: FitsHeader | None, received: ReceivedBlob
    ) -> str | None:
        wanted = self._settings.preview is not None
        if wanted and header is not None and received.data is not None:
            return preview_name(name)
        return None

    def _start_preview(self, frame: Frame) -> None:
        """Start a preview unless one of the same BLOB is being made."""
        if self._settings.preview is None or frame.received.data is None:
            return
        key = frame.key
        running = self._previews.get(key)
        if running is not None and not running.done():
            return
        work = self._make_preview(frame, frame.received.data)
        self._previews[key] = self._loop.create_task(work, name=f"preview of {key}")

    async def _make_preview(self, frame: Frame, data: bytes) -> None:
        try:
            made = await asyncio.to_thread(jpeg, data)
        except (ValueError, MemoryError, OverflowError) as error:
            log.warning("no preview of %s: %s", frame.key, error)
            return
        if made is None:
            return
        digest = hashlib.sha256(made).hexdigest()
        time = frame.received.time
        about = Image(len(made), "image/jpeg", None, ".jpg", digest, time)
        frame.publisher.publish_image(
            preview_name(frame.name),
            dict(msgspec.to_builtins(about)),
            made,
            self._settings.retain,
        )
