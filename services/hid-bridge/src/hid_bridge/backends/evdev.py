"""Keyboards and what acts as one, through the kernel's evdev, taken for us alone.

Source: docs/protocols/hid.md, 7.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from busbar.bridge.errors import LinkLost
from hid_bridge.address import HidNode
from hid_bridge.backends import inotify, nodes, sysfs
from hid_bridge.backends.calls import Calls
from hid_bridge.backends.channel import OnLost
from hid_bridge.backends.hidraw import NodeReader, opened
from hid_bridge.backends.nodes import NodeFile

_EVENT = struct.Struct("@llHHi")  # struct input_event: s, us, type, code, value
EVENT_SIZE = _EVENT.size
BATCH = 64 * EVENT_SIZE  # bytes of one read
_SYN, _KEY = 0, 1
_DROPPED = 3  # SYN_DROPPED: the kernel's buffer has overflowed
GRABBED = b"\x01\0\0\0"


class KeyEvent(NamedTuple):
    """A key that went down (1), up (0) or repeats (2); code None: events are lost."""

    code: int | None
    value: int
    time: float  # Unix s, of the kernel


OnKey = Callable[[KeyEvent], None]


class EvdevBackend:
    """The keyboards of /dev/input/event*."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    async def nodes(self) -> Sequence[HidNode]:
        return await asyncio.to_thread(sysfs.keyboard_nodes, self._root)

    async def open(
        self, node: HidNode, on_key: OnKey, on_lost: OnLost, timeout: float, grab: bool
    ) -> "EvdevChannel":
        """Open a keyboard, for us alone if asked; raise LinkLost."""
        calls = Calls(node.path)
        try:
            file = await opened(node, calls, timeout)
            try:
                if grab:
                    await calls.run(timeout, file.ioctl, nodes.GRAB, bytearray(GRABBED))
            except OSError as error:
                file.close()
                raise LinkLost(
                    f"{node.path}: another program has it for itself ({error.strerror})"
                ) from error
        finally:
            calls.end()
        return EvdevChannel(node, file, on_key, on_lost)

    async def until_changed(self, limit: float) -> None:
        await inotify.until_changed(self._root / "dev/input", limit)


class EvdevChannel:
    """One open keyboard."""

    def __init__(
        self, node: HidNode, file: NodeFile, on_key: OnKey, on_lost: OnLost
    ) -> None:
        self.node = node
        self._file = file
        self._on_key = on_key
        self._reader = NodeReader(file, BATCH, self._on_data, on_lost)

    def close(self) -> None:
        """Close it; the kernel gives its keys back to everybody."""
        self._reader.close()
        self._file.close()

    def _on_data(self, data: bytes, time: float) -> None:
        whole = len(data) - len(data) % EVENT_SIZE
        for seconds, micros, kind, code, value in _EVENT.iter_unpack(data[:whole]):
            stamp = seconds + micros / 1e6 if seconds else time
            if kind == _KEY:
                self._on_key(KeyEvent(code, value, stamp))
            elif kind == _SYN and code == _DROPPED:
                self._on_key(KeyEvent(None, 0, stamp))


def encode(code: int, value: int, seconds: int = 0, kind: int = _KEY) -> bytes:
    """Return the bytes of one event."""
    return _EVENT.pack(seconds, 0, kind, code, value)
