"""A recording is written beside the event loop, in order, with a bound."""

import asyncio
import threading

import pytest

from busbar.cli.recording import writing
from busbar.cli.recording.writing import BackgroundRecorder
from busbar.errors import ConfigError
from busbar.mqtt.reconnect import Received

LIMIT = 30.0  # s; generous, only something broken needs it


class Disk:
    """A recorder that hangs until it may go on."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.written: list[bytes] = []
        self.error: OSError | None = None

    def write(self, batch: list[tuple[int, Received]], flush: float) -> None:
        assert self.goes_on.wait(LIMIT)
        if self.error is not None:
            raise self.error
        self.written += [received.payload for _, received in batch]


def message(payload: bytes) -> Received:
    return Received("busbar/bench/psu/state/v", payload, False)


async def test_a_disk_that_hangs_stops_nothing_and_what_came_is_written_in_order() -> (
    None
):
    disk = Disk()
    writer = BackgroundRecorder(disk, 100)  # type: ignore[arg-type]  # it writes
    for number in range(120):
        writer.take(message(b"%d" % number))
        await asyncio.sleep(0)
    assert not writer.done.done()
    disk.goes_on.set()
    await asyncio.wait_for(writer.done, LIMIT)
    await writer.close()
    assert disk.written == [b"%d" % number for number in range(100)]


async def test_more_than_may_wait_ends_the_recording_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "WAITING_LIMIT", 1000)
    disk = Disk()
    writer = BackgroundRecorder(disk, None)  # type: ignore[arg-type]  # it writes
    for _ in range(5):
        writer.take(message(b"x" * 300))
    with pytest.raises(ConfigError, match="the disk is too slow"):
        writer.done.result()
    disk.goes_on.set()
    await writer.close()
    assert len(disk.written) == 3


async def test_a_disk_that_fails_ends_the_recording() -> None:
    disk = Disk()
    disk.error = OSError(28, "No space left on device")
    disk.goes_on.set()
    writer = BackgroundRecorder(disk, None)  # type: ignore[arg-type]  # it writes
    writer.take(message(b"x"))
    with pytest.raises(OSError, match="No space left"):
        await asyncio.wait_for(writer.done, LIMIT)
    await writer.close()
