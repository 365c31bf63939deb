"""Folder that BLOBs are saved to, and its bounds."""

import logging
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("busbar.indi")

# files that this bridge has written: device_member_YYYYmmdd_HH_MM_SS[_n]<format>
_OURS = re.compile(r"[\w-]+_\d{8}_\d\d_\d\d_\d\d(_\d{1,3})?(\.[\w.-]*)?")


class Bounds(NamedTuple):
    """Bounds of a folder; None: there is none."""

    size: int | None = None  # bytes of all images: beyond it the oldest are removed
    age: float | None = None  # s after which an image is removed
    free: int = 0  # bytes that stay free on the disk: then nothing is saved


class BlobFolder:
    """One folder. Its methods block: they are for the thread of the receiver."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path = path
        self._bounds = bounds

    def problem(self) -> str | None:
        """Return why nothing can be saved now, None if it can."""
        free = shutil.disk_usage(self.path).free
        if free >= self._bounds.free:
            return None
        return f"only {free >> 20} MiB are free, {self._bounds.free >> 20} MiB stay so"

    def tidy(self) -> None:
        """Remove the oldest images beyond the bounds."""
        if self._bounds.size is None and self._bounds.age is None:
            return
        files = self._files()
        total = sum(size for _, size, _ in files)
        for changed, size, path in sorted(files):
            too_old = self._bounds.age is not None
            too_old = too_old and changed < time.time() - (self._bounds.age or 0.0)
            too_much = self._bounds.size is not None and total > self._bounds.size
            if not (too_old or too_much):
                break
            path.unlink(missing_ok=True)
            total -= size
            log.info("removed %s: the folder is at its bounds", path.name)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return time (Unix s), size (bytes) and path of each image."""
        found = []
        for path in self.path.iterdir():
            if _OURS.fullmatch(path.name) and path.is_file():
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        return found
