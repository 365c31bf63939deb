"""Files of blobs: written beside the event loop, one after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from busbar.errors import BusbarError, Overloaded, TooLarge

WAITING_LIMIT = 256 * 1024 * 1024  # bytes that wait for the disk


class FileWriter:
    """Writes whole files on a thread; half a file is none."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "files")
        self._waiting = 0

    def write(
        self, path: Path, data: bytes, done: Callable[[BusbarError | None], None]
    ) -> None:
        """Write a file, then call `done` on the loop with why it is not there."""
        if self._waiting + len(data) > WAITING_LIMIT:
            text = f"{self._waiting} bytes wait for the disk already"
            done(Overloaded(text))
            return
        self._waiting += len(data)
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, _write, path, data)

        def on_end(ended: asyncio.Future[BusbarError | None]) -> None:
            self._waiting -= len(data)
            if not ended.cancelled():
                done(ended.result())

        writing.add_done_callback(on_end)


def _write(path: Path, data: bytes) -> BusbarError | None:
    try:
        path.write_bytes(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        size = len(data)
        return TooLarge(f"{size} bytes do not fit a message nor the folder: {error}")
    return None
