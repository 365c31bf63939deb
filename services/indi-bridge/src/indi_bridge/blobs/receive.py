"""BLOBs as they come in.

Inflated, summed up, kept in memory up to a limit and saved to a folder.
"""

import contextlib
import hashlib
import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from busbar.bridge import level
from busbar.codecs.indi import BlobData, BlobEnd, BlobStart

log = logging.getLogger("busbar.indi")

INFLATE = 1024 * 1024  # bytes at a time
# bytes of one file; a larger one, inflated perhaps, is given up
FILE_LIMIT = 4 * 1024**3
HEAD = 2880 * 36  # bytes at the start that are kept for the header
NAMES = 1000  # files of one second

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
class Received:
    """One BLOB that has come; `data` is None if it was too large to keep."""

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
    def stream(self) -> bool:
        """True for a frame of a video. Source: docs/protocols/indi.md, 4.16."""
        return self.format.startswith(".stream")


class Incoming:
    """One BLOB on its way."""

    def __init__(
        self, start: BlobStart, limit: int, folder: Path | None, now: float
    ) -> None:
        self._start, self._limit, self._now = start, limit, now
        packed = start.format.endswith(".z")
        self._format = start.format.removesuffix(".z")
        self._inflate = zlib.decompressobj() if packed else None
        self._pieces: list[bytes] | None = []
        self._head = b""
        self._size = 0
        self._sum = hashlib.sha256()
        self._file = _File(folder, start.member, self._format, now) if folder else None
        self.error = ""

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

    def end(self, error: str) -> Received | None:
        """Return what has come, None if it was nothing or it failed.

        Then `error` says why.
        """
        if self._inflate is not None and self._size and not self._inflate.eof:
            self.error = self.error or "the compressed data end within"
        self.error = error or self.error
        if self.error or self._size == 0:
            self.drop()
            return None
        file = self._file.close() if self._file else None
        start = self._start
        data = None if self._pieces is None else b"".join(self._pieces)
        self._pieces = None
        return Received(
            start.device,
            start.vector,
            start.member,
            self._format,
            data,
            self._head,
            self._size,
            self._sum.hexdigest(),
            file,
            self._now,
        )

    def drop(self) -> None:
        """Leave nothing behind."""
        if self._file:
            self._file.remove()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > FILE_LIMIT:
            self.error = f"more than {FILE_LIMIT} bytes"
            return
        self._sum.update(data)
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
        if self._pieces is not None:
            self._pieces.append(data)
            if self._size > self._limit:
                self._pieces = None
        if self._file:
            self._file.write(data)


class _File:
    """A file of the folder: member_YYYYmmdd_HH_MM_SS[_n]<format>, UTC.

    It is there once it is whole.
    """

    def __init__(self, folder: Path, member: str, format: str, now: float) -> None:
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d_%H_%M_%S")
        suffix = "".join(each for each in format if each.isalnum() or each in "._-")[
            :20
        ]
        self._folder, self._stem, self._suffix = (
            folder,
            f"{level(member)}_{stamp}",
            suffix,
        )
        self._path = folder / f".{self._stem}{suffix}.part"
        self._open: IO[bytes] | None = None
        self._do(lambda: setattr(self, "_open", self._path.open("wb")))

    def write(self, data: bytes) -> None:
        if self._open is not None:
            self._do(lambda: self._open.write(data) if self._open else None)

    def close(self) -> str | None:
        """Return its name, None if it could not be written."""
        if self._open is None:
            return None
        self._do(self._open.close)
        name = None
        for number in range(NAMES):
            name = f"{self._stem}{f'_{number}' if number else ''}{self._suffix}"
            if not (self._folder / name).exists():
                break
        if self._open is None or name is None:
            return None
        self._do(lambda: self._path.rename(self._folder / name))
        return name if self._open is not None else None

    def remove(self) -> None:
        file, self._open = self._open, None
        # a full disk, one that can only be read: said before
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            log.warning("cannot save %s: %s", self._path.name, error)
            self.remove()


class Receiver:
    """The BLOBs of one connection, which come one after the other."""

    def __init__(
        self, limit: int, folder: Path | None, now: Callable[[], float] = time.time
    ) -> None:
        self._limit, self._folder, self._now = limit, folder, now
        self._incoming: Incoming | None = None
        self.lost = 0

    def start(self, start: BlobStart) -> None:
        self.drop()
        self._incoming = Incoming(start, self._limit, self._folder, self._now())

    def data(self, data: BlobData) -> None:
        if self._incoming is not None:
            self._incoming.take(data.data)

    def end(self, end: BlobEnd) -> Received | None:
        """Return what has come, if anything did."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return None
        received = incoming.end(end.error)
        if incoming.error:
            self.lost += 1
            log.warning("a BLOB is lost: %s", incoming.error)
        return received

    def drop(self) -> None:
        """The connection is over."""
        if self._incoming is not None:
            self._incoming.drop()
        self._incoming = None
