"""Files that BLOBs are saved to."""

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO

from busbar.bridge import level
from indi_bridge.blobs.folder import BlobFolder

log = logging.getLogger("busbar.indi")

NAMES = 1000  # files of one second
_SUFFIX = 20  # characters of a format in a name


class BlobFile:
    """A file of a folder: device_member_YYYYmmdd_HH_MM_SS[_n]<format>, UTC.

    It has its name once it is whole. An error costs the file only.
    """

    def __init__(
        self, folder: BlobFolder, device: str, member: str, format: str, now: float
    ) -> None:
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d_%H_%M_%S")
        self._folder = folder
        self._stem = f"{level(device)}_{level(member)}_{stamp}"
        self._suffix = _suffix(format)
        self._path = folder.path / f".{self._stem}{self._suffix}.part"
        self._file: IO[bytes] | None = None
        self._attempt(self._open)

    def write(self, data: bytes) -> None:
        file = self._file
        if file is not None:
            self._attempt(lambda: file.write(data))

    def close(self) -> str | None:
        """Return its name, None if it could not be written."""
        if self._file is None or not self._attempt(self._file.close):
            return None
        name = self._free_name()
        path = self._folder.path / name
        if not self._attempt(lambda: self._path.rename(path)):
            return None
        self._attempt(self._folder.tidy)
        return name

    def remove(self) -> None:
        file = self._file
        self._file = None
        # a full disk, one that can only be read: it has been logged
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _open(self) -> None:
        problem = self._folder.problem()
        if problem is not None:
            raise OSError(problem)
        self._file = self._path.open("wb")

    def _free_name(self) -> str:
        """Return the first name that is not taken; the last if all are."""
        name = f"{self._stem}{self._suffix}"
        for number in range(1, NAMES):
            if not (self._folder.path / name).exists():
                break
            name = f"{self._stem}_{number}{self._suffix}"
        return name

    def _attempt(self, work: Callable[[], object]) -> bool:
        """Do a step and return True; give the file up if it fails."""
        try:
            work()
        except OSError as error:
            log.warning("cannot save %s: %s", self._path.name, error)
            self.remove()
            return False
        return True


def _suffix(format: str) -> str:
    """Return the end of a file name for a format: never a path."""
    harmless = [each for each in format if each.isalnum() or each in "._-"]
    return "".join(harmless[:_SUFFIX])
