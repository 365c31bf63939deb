"""DDP, the data protocol of GCT: messages cut into frames, and put together again.

Source: reference 1.8.

Both versions append a CRC-16/CCITT-FALSE, big endian; the CRC of data and CRC is 0.
Version 1 counts its parts and keeps their order; version 2 marks the last one.
"""

import binascii
from collections.abc import Iterator

import msgspec

from busbar.errors import OutOfRange

PART = 8  # bytes of a frame
V1_PARTS, V2_PARTS = 8, 256
V1_BYTES, V2_BYTES = 61, 2045  # of data in one message, as the original has them
TIMEOUT = 1.0  # s between two parts of a message
# messages that are put together at once: 256 times 2 KiB is what peers can make us keep
OPEN_LIMIT = 256
_EOF, _V2_INDEX = 1 << 10, 0xFF


class Ddp(msgspec.Struct, frozen=True, tag_field="type", tag="ddp"):
    """One message of up to 61 (version 1) or 2045 bytes.

    Bit 7 of the first says that a response is wanted.
    """

    src: int
    dst: int
    data: bytes
    version: int = 1


def parts(message: Ddp) -> Iterator[tuple[int, bytes]]:
    """Return type data and payload of each frame; raise OutOfRange."""
    if message.version not in (1, 2):
        raise OutOfRange(f"version: {message.version}; DDP has the versions 1 and 2")
    most, least = (V1_BYTES, 0) if message.version == 1 else (V2_BYTES, 1)
    if not least <= len(message.data) <= most:
        raise OutOfRange(
            f"data: {len(message.data)} bytes; DDP version {message.version} has "
            f"{least} to {most}"
        )
    whole = message.data + _crc(message.data).to_bytes(2, "big")
    cut = [whole[start : start + PART] for start in range(0, len(whole), PART)]
    for index, part in enumerate(cut):
        if message.version == 1:
            yield (len(cut) - 1) << 8 | index << 5, part
        else:
            yield index | (_EOF if index == len(cut) - 1 else 0), part


def _crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0xFFFF)


class Reassembly:
    """Messages from parts.

    Each pair of source and destination on its own, so that senders may interleave.
    """

    def __init__(self, timeout: float = TIMEOUT, limit: int = OPEN_LIMIT) -> None:
        # messages of which parts came, and then too late, too many others or a wrong
        # CRC
        self.lost = 0
        self._timeout, self._limit = timeout, limit
        self._open: dict[tuple[int, int], _Assembly] = {}

    def __len__(self) -> int:
        return len(self._open)

    def feed(
        self, src: int, dst: int, type_data: int, data: bytes, time: float
    ) -> Ddp | None:
        """Take one frame that came at `time` (s, any clock).

        Return the message it completes.
        """
        self._forget(time)
        key = (src, dst)
        assembly = self._open.pop(key, None) or _Assembly()
        assembly.time = time
        found = assembly.first(type_data, data)
        version = 1
        if found is None:
            found, version = assembly.second(type_data, data), 2
        self.lost += assembly.wrong
        assembly.wrong = 0
        if found is not None:
            return Ddp(src, dst, found, version)
        if assembly.parts or assembly.begun:
            self._keep(key, assembly)
        return None

    def _forget(self, time: float) -> None:
        """Give up what has waited too long, or would for ever because the clock was set back."""
        while self._open:
            key, oldest = next(iter(self._open.items()))
            if abs(time - oldest.time) <= self._timeout:
                return
            self.lost += 1
            del self._open[key]

    def _keep(self, key: tuple[int, int], assembly: "_Assembly") -> None:
        self._open[key] = assembly  # the newest is the last
        if len(self._open) > self._limit:
            self.lost += 1
            del self._open[next(iter(self._open))]


class _Assembly:
    """What is there of one message, in both versions: which it is turns out at the end."""

    def __init__(self) -> None:
        self.time = 0.0
        self.wrong = 0  # messages whose CRC was wrong
        self.begun = b""  # version 1, so far
        self.parts: dict[int, bytes] = {}  # version 2, in order of arrival
        self._count = self._next = 0
        self._last: int | None = None

    def first(self, type_data: int, data: bytes) -> bytes | None:
        """Take a frame as version 1, which keeps strict order.

        Return the data it completes.
        """
        count, index = (type_data >> 8 & 7) + 1, type_data >> 5 & 7
        if type_data & 0x1F or index >= count:
            return None
        if index == 0:
            self.begun, self._count, self._next = b"", count, 0
        if (count, index) != (self._count, self._next):
            self.begun, self._count = b"", 0
            return None
        self.begun += data
        self._next += 1
        if self._next < count:
            return None
        whole, self.begun, self._count = self.begun, b"", 0
        return _checked(whole)

    def second(self, type_data: int, data: bytes) -> bytes | None:
        """Take a frame as version 2, whose parts may come in any order.

        Return the data they complete.
        """
        index = type_data & _V2_INDEX
        if type_data & ~(_EOF | _V2_INDEX):
            return None
        if index == 0 and 0 in self.parts:
            self.wrong += 1
            self._clear()  # the next message: the last one is not complete
        self.parts.pop(index, None)
        self.parts[index] = data
        if type_data & _EOF:
            self._last = index
        if self._last is None or not all(
            each in self.parts for each in range(self._last + 1)
        ):
            return None
        found = _checked(b"".join(self.parts[each] for each in range(self._last + 1)))
        if found is None:
            # the first part of a version 1 message may look like a whole version 2
            self.wrong += not self.begun
            self._forget_older()
        else:
            self._clear()
        return found

    def _forget_older(self) -> None:
        """Parts from before part 0 may be those of an earlier message.

        Without such, all of it is wrong.
        """
        order = list(self.parts)
        older = order[: order.index(0)]
        if not older:
            self._clear()
        for each in older:
            del self.parts[each]
        if self._last in older:
            self._last = None

    def _clear(self) -> None:
        self.parts.clear()
        self._last = None


def _checked(whole: bytes) -> bytes | None:
    return whole[:-2] if len(whole) >= 2 and _crc(whole) == 0 else None
