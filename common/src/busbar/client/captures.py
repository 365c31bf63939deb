"""Captures of logic analysers and oscilloscopes as arrays; numpy is the extra `arrays`.

t, channels = await capture(bus.device("lab/analyser"), samples=1000)
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from busbar.client.device import DeviceView
from busbar.client.types import Blob
from busbar.codecs import sigrok
from busbar.errors import DeviceTimeout, TooLarge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float64], dict[str, NDArray[Any]]]

LIMIT = 1 << 30  # bytes of samples of one capture
PATIENCE = 10.0  # s for the blob of a capture that has its outcome


async def capture(device: DeviceView, **arguments: Any) -> "Arrays":
    """Capture and return times (s, float64) and samples by channel.

    Logic is 0 and 1 (uint8), analog float32; all of one length. Raise what the command
    `capture` raises, TooLarge where the bridge has saved it as a file, DeviceTimeout
    where it has been lost on the way.
    """
    data, channels = await recorded(device, **arguments)
    return await asyncio.to_thread(arrays, data, channels)


async def recorded(device: DeviceView, **arguments: Any) -> tuple[bytes, list[str]]:
    """Capture and return the session (sigrok's format) and the channels wanted."""
    stream = device.blobs("capture")
    try:
        result = await device.call("capture", arguments)
        if result["file"] is not None:
            raise TooLarge(f"the capture is in the bridge's folder: {result['file']}")
        async with asyncio.timeout(PATIENCE):
            blob = await _of_size(stream, result["size"])
    except TimeoutError as error:
        lost = f"{device.name}: the capture has not come within {PATIENCE:g} s"
        raise DeviceTimeout(lost) from error
    finally:
        stream.close()
    return blob.data, result["channels"]


async def _of_size(stream: Any, size: int) -> Blob:
    async for blob in stream:
        if len(blob.data) == size:
            return blob  # type: ignore[no-any-return]  # a Stream of blobs
    raise TimeoutError


def arrays(data: bytes, channels: Iterable[str] | None = None) -> "Arrays":
    """Return times and samples of a session, of some channels or of all.

    Raise ProtocolError for what is none, TooLarge beyond 1 GiB of samples.
    """
    import numpy as np

    read = session(data, channels)
    count = read.samples
    t = np.arange(count) / (read.rate or 1)
    found: dict[str, NDArray[Any]] = {}
    for name in read.logic:
        found[name] = np.frombuffer(read.bits(name), dtype=np.uint8)
    for name, samples in read.analog.items():
        found[name] = np.frombuffer(samples, dtype="<f4", count=count)
    return t, found


def session(data: bytes, channels: Iterable[str] | None = None) -> sigrok.Capture:
    """Return a session as it is, without numpy; raise as `arrays` does."""
    read = sigrok.read(data, LIMIT)
    return read if channels is None else read.only(tuple(channels))


def vcd(data: bytes, channels: Iterable[str] | None = None) -> str:
    """Return a session as a value change dump; raise as `arrays` does."""
    return sigrok.vcd(session(data, channels))
