"""Messages on their way into a recording: written beside the event loop."""

import asyncio
import contextlib
import time as clock
from typing import TYPE_CHECKING

from busbar.errors import ConfigError
from busbar.mqtt.reconnect import Received

if TYPE_CHECKING:
    from busbar.cli.recording.tape import Recorder

FLUSH = 2.0  # s that a power cut may cost
WAITING_LIMIT = 64 * 1024 * 1024  # bytes that wait for the disk


class BackgroundRecorder:
    """Writes messages in their order, in batches, on a thread.

    `done` is set with the last of `count` messages, or fails with what ends the
    recording.
    """

    def __init__(self, recorder: "Recorder", count: int | None) -> None:
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()
        self._recorder = recorder
        self._count = count
        self._taken = 0
        self._waiting = 0  # bytes
        self._batch: list[tuple[int, Received]] = []
        self._came = asyncio.Event()
        self._closing = False
        self._writing = asyncio.create_task(self._write_all(), name="recording")

    def take(self, received: Received) -> None:
        """Take a message as it comes."""
        if self.done.done() or self._taken == self._count:
            return
        self._waiting += len(received.payload)
        if self._waiting > WAITING_LIMIT:
            self._fail(
                ConfigError(
                    f"the disk is too slow: {WAITING_LIMIT} bytes wait for it; the "
                    "recording ends here, choose fewer devices"
                )
            )
            return
        self._taken += 1
        self._batch.append((clock.time_ns(), received))
        self._came.set()

    async def close(self) -> None:
        """Write what has come."""
        self._closing = True
        self._came.set()
        await self._writing

    async def _write_all(self) -> None:
        while not self._closing or self._batch:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH):
                    await self._came.wait()
            self._came.clear()
            batch = self._batch
            self._batch = []
            try:
                await asyncio.to_thread(self._recorder.write, batch, FLUSH)
            except (OSError, ConfigError) as error:
                self._fail(error)
                return
            self._waiting -= sum(len(received.payload) for _, received in batch)
            if self._taken == self._count and not self._batch and not self.done.done():
                self.done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
