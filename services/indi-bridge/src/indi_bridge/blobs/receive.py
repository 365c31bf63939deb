"""Receiver of BLOBs: inflated, hashed, kept up to a limit and saved to a folder."""

import hashlib
import logging
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from busbar.codecs.indi import BlobData, BlobEnd, BlobStart, Element
from indi_bridge.blobs.files import BlobFile
from indi_bridge.blobs.folder import BlobFolder

log = logging.getLogger("busbar.indi")

INFLATE = 1024 * 1024  # bytes at a time
# bytes of one BLOB, inflated; a larger one is given up
SIZE_LIMIT = 4 * 1024**3
HEAD = 2880 * 36  # bytes at the start that are kept for the header

_TYPES = {
    ".fits": "image/fits",
    ".fit": "image/fits",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".stream_jpg": "image/jpeg",
}


@dataclass(frozen=True)
class ReceivedBlob:
    """One whole BLOB; `data` is None if it was too large to keep."""

    device: str
    vector: str
    member: str
    format: str
    data: bytes | None
    head: bytes  # its beginning
    size: int  # bytes
    sha256: str
    file: str | None
    time: float  # Unix s

    @property
    def content_type(self) -> str:
        return _TYPES.get(self.format.lower(), "application/octet-stream")

    @property
    def is_frame(self) -> bool:
        """True for a frame of a video."""
        return is_frame(self.format)


class LostBlob(NamedTuple):
    """A BLOB that could not be read."""

    device: str
    vector: str
    why: str


def is_frame(format: str) -> bool:
    """Return whether a format is that of a video. Source: docs/protocols/indi.md, 4.16.

    Its frames are not saved.
    """
    return format.startswith(".stream")


class IncomingBlob:
    """One BLOB on its way."""

    def __init__(
        self, start: BlobStart, limit: int, folder: BlobFolder | None, now: float
    ) -> None:
        self.error = ""
        self._start = start
        self._limit = limit
        self._now = now
        self._format = start.format.removesuffix(".z")
        packed = start.format.endswith(".z")
        self._inflate = zlib.decompressobj() if packed else None
        self._pieces: list[bytes] | None = []
        self._head = b""
        self._size = 0
        self._hash = hashlib.sha256()
        self._file: BlobFile | None = None
        if folder is not None and not is_frame(self._format):
            self._file = BlobFile(folder, start.device, start.member, self._format, now)

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.error:
            return
        if self._inflate is None:
            self._keep(data)
            return
        try:
            while data and not self.error:
                self._keep(self._inflate.decompress(data, INFLATE))
                data = self._inflate.unconsumed_tail
        except zlib.error as error:
            self.error = f"cannot be inflated: {error}"

    def end(self, error: str) -> ReceivedBlob | None:
        """Return the BLOB, None if it was empty or failed; `error` says why."""
        if self._inflate is not None and self._size and not self._inflate.eof:
            self.error = self.error or "the compressed data end within"
        self.error = error or self.error
        if self.error or self._size == 0:
            self.drop()
            return None
        data = None
        if self._pieces is not None:
            data = b"".join(self._pieces)
            self._pieces = None
        return ReceivedBlob(
            self._start.device,
            self._start.vector,
            self._start.member,
            self._format,
            data,
            self._head,
            self._size,
            self._hash.hexdigest(),
            self._file.close() if self._file else None,
            self._now,
        )

    def lost(self) -> LostBlob:
        """Return what is known of a BLOB that failed."""
        return LostBlob(self._start.device, self._start.vector, self.error)

    def drop(self) -> None:
        """Leave nothing behind."""
        if self._file:
            self._file.remove()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > SIZE_LIMIT:
            self.error = f"more than {SIZE_LIMIT} bytes"
            return
        self._hash.update(data)
        missing = HEAD - len(self._head)
        if missing > 0:
            self._head += data[:missing]
        if self._pieces is not None:
            self._pieces.append(data)
            if self._size > self._limit:
                self._pieces = None
        if self._file:
            self._file.write(data)


class BlobReceiver:
    """Receives the BLOBs of one connection, which come one after the other."""

    def __init__(
        self,
        limit: int,
        folder: BlobFolder | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0  # BLOBs that could not be read
        self._limit = limit
        self._folder = folder
        self._clock = clock
        self._incoming: IncomingBlob | None = None

    def take(self, parts: Iterable[Element]) -> list[ReceivedBlob | LostBlob]:
        """Take parts in their order; return the BLOBs that they complete."""
        whole: list[ReceivedBlob | LostBlob] = []
        for each in parts:
            match each:
                case BlobStart():
                    self.start(each)
                case BlobData():
                    self.data(each)
                case BlobEnd():
                    received = self.end(each)
                    if received is not None:
                        whole.append(received)
        return whole

    def start(self, start: BlobStart) -> None:
        self.drop()
        now = self._clock()
        self._incoming = IncomingBlob(start, self._limit, self._folder, now)

    def data(self, data: BlobData) -> None:
        if self._incoming is not None:
            self._incoming.take(data.data)

    def end(self, end: BlobEnd) -> ReceivedBlob | LostBlob | None:
        """Return the BLOB that has ended, if there was one that was not empty."""
        incoming = self._incoming
        self._incoming = None
        if incoming is None:
            return None
        received = incoming.end(end.error)
        if incoming.error:
            self.lost += 1
            log.warning("a BLOB is lost: %s", incoming.error)
            return incoming.lost()
        return received

    def drop(self) -> None:
        """Drop an unfinished BLOB: the connection is over."""
        if self._incoming is not None:
            self._incoming.drop()
        self._incoming = None
