"""Folder that BLOBs are saved to: its bounds, and a thread that writes.

A slow card or network drive delays files, never values.
"""

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

log = logging.getLogger("busbar.indi")

T = TypeVar("T")

BACKLOG = 256 * 1024 * 1024  # bytes that may wait to be written
# files that this bridge has written: device_member_YYYYmmdd_HH_MM_SS[_n]<format>
_OURS = re.compile(r"[\w-]+_\d{8}_\d\d_\d\d_\d\d(_\d{1,3})?(\.[\w.-]*)?")


class Bounds(NamedTuple):
    """Bounds of a folder; None: there is none."""

    size: int | None = None  # bytes of all images: beyond it the oldest are removed
    age: float | None = None  # s after which an image is removed
    free: int = 0  # bytes that stay free on the disk: then nothing is saved


class BlobFolder:
    """One folder, with its writer."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path = path
        self._bounds = bounds
        self._waiting = 0  # bytes
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="images")

    def has_room(self, size: int) -> bool:
        """Return whether so many bytes more may wait to be written."""
        return self._waiting + size <= BACKLOG

    def submit(self, work: Callable[[], T], size: int = 0) -> "asyncio.Future[T]":
        """Let the writer do work, after what it was given before."""
        self._waiting += size
        done = asyncio.get_running_loop().run_in_executor(self._writer, work)

        def on_done(_: "asyncio.Future[T]") -> None:
            self._waiting -= size

        done.add_done_callback(on_done)
        return done

    def close(self) -> None:
        """Let the writer end once it has written what waits."""
        self._writer.shutdown(wait=False)

    def problem(self) -> str | None:
        """Return why nothing can be saved now, None if it can. On the writer."""
        free = shutil.disk_usage(self.path).free
        if free >= self._bounds.free:
            return None
        return f"only {free >> 20} MiB are free, {self._bounds.free >> 20} MiB stay so"

    def tidy(self) -> None:
        """Remove the oldest images beyond the bounds. On the writer."""
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
