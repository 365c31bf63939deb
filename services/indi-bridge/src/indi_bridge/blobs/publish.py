"""Publisher of BLOBs: frame rate, description, preview, and the exposures that wait."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from busbar.bridge import BlobOutcome, ProtocolError
from indi_bridge.blobs.awaited import AwaitedImage, CameraImage, Exposed
from indi_bridge.blobs.fits import FitsHeader, read_header
from indi_bridge.blobs.preview import jpeg
from indi_bridge.blobs.receive import ReceivedBlob
from indi_bridge.properties import Image, blob_name, preview_name
from indi_bridge.publisher import VectorPublisher
from indi_bridge.settings import Blobs
from indi_bridge.vectors import Vector

log = logging.getLogger("busbar.indi")


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


class BlobPublisher:
    """Publishes the BLOBs of one server."""

    def __init__(self, settings: Blobs) -> None:
        self.dropped = 0  # frames of videos that were too many
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._due: dict[str, float] = {}  # loop time of the next frame of a video
        self._held: dict[str, Frame] = {}  # the newest that came before it is due
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._awaited: list[AwaitedImage] = []
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

    @contextlib.contextmanager
    def awaited(self, image: AwaitedImage) -> Iterator[None]:
        """Let an exposure see the images that come meanwhile."""
        self._awaited.append(image)
        try:
            yield
        finally:
            self._awaited.remove(image)

    def on_busy(self, device: str, vector: str) -> None:
        """Take note that a vector of a device of the bus is Busy."""
        for each in self._awaited:
            if (each.device, each.exposure) == (device, vector):
                each.on_busy()

    def on_lost(self, device: str, vector: str, why: str) -> None:
        """Take note that a BLOB of a device of the bus could not be read."""
        error = ProtocolError(f"{vector}: the image is lost: {why}")
        image = CameraImage(Exposed(), None, error)
        for each in self._awaiting(device, vector):
            each.on_image(image)

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
        seconds = _exposure_time(about["fits"])
        for each in self._awaiting(frame.publisher.name, frame.vector.name):
            # decided now: an exposure may begin before a file is written
            if each.is_ours(seconds):
                outcome.add_done_callback(partial(_tell, each, name, about, seconds))

    def _awaiting(self, device: str, vector: str) -> list[AwaitedImage]:
        """Return the exposures that wait for an image of a vector."""
        wanted = (device, vector)
        return [each for each in self._awaited if (each.device, each.vector) == wanted]

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


def _tell(
    awaited: AwaitedImage,
    name: str,
    about: Mapping[str, Any],
    seconds: float | None,
    became: "asyncio.Future[BlobOutcome]",
) -> None:
    """Tell an exposure what became of its image."""
    if became.cancelled():
        return
    outcome = became.result()
    exposed = Exposed(name, {**about, "file": outcome.file})
    awaited.take(CameraImage(exposed, seconds, outcome.error))


def _exposure_time(cards: Mapping[str, Any] | None) -> float | None:
    """Return the seconds that a FITS header tells, None if it does not."""
    for name in ("EXPTIME", "EXPOSURE"):
        seconds = (cards or {}).get(name)
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            return float(seconds)
    return None
