"""DDP, the data protocol of GCT: messages cut into frames, and reassembled.

Source: docs/protocols/gct.md, 4.

Both versions append a CRC-16/CCITT-FALSE, big endian; the CRC of data and CRC is 0.
Version 1 counts its parts and keeps their order; version 2 marks the last one.
"""

import binascii
from collections.abc import Iterator

import msgspec

from busbar.errors import OutOfRange

PART = 8  # bytes of a frame
V1_BYTES = 61  # of data in one message, as the original has them
V2_BYTES = 2045
TIMEOUT = 1.0  # s between two parts of a message
# messages that are reassembled at once: peers can make us keep 256 times 2 KiB
OPEN_LIMIT = 256
_EOF = 1 << 10
_V2_INDEX = 0xFF


class Ddp(msgspec.Struct, frozen=True, tag_field="type", tag="ddp"):
    """One message of up to 61 (version 1) or 2045 bytes.

    Bit 7 of the first says that a response is wanted.
    """

    src: int
    dst: int
    data: bytes
    version: int = 1


_BYTES = {1: (0, V1_BYTES), 2: (1, V2_BYTES)}  # of data, by version


def parts(message: Ddp) -> Iterator[tuple[int, bytes]]:
    """Return type data and payload of each frame; raise OutOfRange."""
    if message.version not in _BYTES:
        raise OutOfRange(f"version: {message.version}; DDP has the versions 1 and 2")
    least, most = _BYTES[message.version]
    if not least <= len(message.data) <= most:
        raise OutOfRange(
            f"data: {len(message.data)} bytes; DDP version {message.version} has "
            f"{least} to {most}"
        )
    whole = message.data + _crc(message.data).to_bytes(2, "big")
    last = (len(whole) - 1) // PART
    for index in range(last + 1):
        part = whole[index * PART : (index + 1) * PART]
        if message.version == 1:
            yield last << 8 | index << 5, part
        elif index == last:
            yield index | _EOF, part
        else:
            yield index, part


def _crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0xFFFF)


class Reassembly:
    """Messages from parts, for each pair of source and destination: they interleave."""

    def __init__(self, timeout: float = TIMEOUT, limit: int = OPEN_LIMIT) -> None:
        # messages that began and were given up: too late, too many others, wrong CRC
        self.lost = 0
        self._timeout = timeout
        self._limit = limit
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
        version = 1
        found = assembly.feed_v1(type_data, data)
        if found is None:
            version = 2
            found = assembly.feed_v2(type_data, data)
        self.lost += assembly.wrong
        assembly.wrong = 0
        if found is not None:
            return Ddp(src, dst, found, version)
        if assembly.v1_data or assembly.v2_parts:
            self._keep(key, assembly)
        return None

    def _forget(self, time: float) -> None:
        """Give up what has waited too long; also where the clock was set back."""
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
    """The parts of one message, read as both versions until one of them is whole."""

    def __init__(self) -> None:
        self.time = 0.0
        self.wrong = 0  # messages that were incomplete, or had a wrong CRC
        self.v1_data = b""
        self.v2_parts: dict[int, bytes] = {}  # in order of arrival
        self._v1_count = 0
        self._v1_next = 0
        self._v2_last: int | None = None

    def feed_v1(self, type_data: int, data: bytes) -> bytes | None:
        """Take a frame as version 1, which keeps strict order.

        Return the data it completes.
        """
        count = (type_data >> 8 & 7) + 1
        index = type_data >> 5 & 7
        if type_data & 0x1F or index >= count:
            return None
        if index == 0:
            self.v1_data = b""
            self._v1_count = count
            self._v1_next = 0
        if count != self._v1_count or index != self._v1_next:
            self._clear_v1()
            return None
        self.v1_data += data
        self._v1_next += 1
        if self._v1_next < count:
            return None
        whole = self.v1_data
        self._clear_v1()
        return _without_crc(whole)

    def _clear_v1(self) -> None:
        self.v1_data = b""
        self._v1_count = 0

    def feed_v2(self, type_data: int, data: bytes) -> bytes | None:
        """Take a frame as version 2, whose parts may come in any order.

        Return the data they complete.
        """
        index = type_data & _V2_INDEX
        if type_data & ~(_EOF | _V2_INDEX):
            return None
        if index == 0 and 0 in self.v2_parts:
            self.wrong += 1
            self._clear_v2()  # the next message: the last one is not complete
        self.v2_parts.pop(index, None)
        self.v2_parts[index] = data
        if type_data & _EOF:
            self._v2_last = index
        whole = self._joined_v2()
        if whole is None:
            return None
        found = _without_crc(whole)
        if found is None:
            # the first part of a version 1 message may look like a whole version 2
            self.wrong += not self.v1_data
            self._forget_older()
        else:
            self._clear_v2()
        return found

    def _joined_v2(self) -> bytes | None:
        """Return the data of all parts, None if one is missing."""
        if self._v2_last is None:
            return None
        found = []
        for index in range(self._v2_last + 1):
            part = self.v2_parts.get(index)
            if part is None:
                return None
            found.append(part)
        return b"".join(found)

    def _forget_older(self) -> None:
        """Drop the parts that came before part 0: they may be of an earlier message.

        Where there are none, all parts are wrong.
        """
        order = list(self.v2_parts)
        older = order[: order.index(0)]
        if not older:
            self._clear_v2()
        for each in older:
            del self.v2_parts[each]
        if self._v2_last in older:
            self._v2_last = None

    def _clear_v2(self) -> None:
        self.v2_parts.clear()
        self._v2_last = None


def _without_crc(whole: bytes) -> bytes | None:
    """Return the data before the CRC, None where the CRC is wrong."""
    if len(whole) < 2 or _crc(whole) != 0:
        return None
    return whole[:-2]
