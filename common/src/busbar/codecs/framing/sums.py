"""Checksums at the end of frames: added when one is made, tried when one is read."""

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Literal

from busbar.codecs.framing.base import Framing


def xor8(data: bytes) -> int:
    """Return the exclusive or of all bytes."""
    return reduce(xor, data, 0)


def sum8(data: bytes) -> int:
    """Return the sum of all bytes, modulo 256."""
    return sum(data) & 0xFF


def lrc(data: bytes) -> int:
    """Return what makes the sum zero. Source: MODBUS over Serial Line V1.02, 6.2.1."""
    return -sum(data) & 0xFF


def _table(polynomial: int, width: int, reflected: bool) -> list[int]:
    table: list[int] = []
    for value in range(256):
        rest = value if reflected else value << (width - 8)
        for _ in range(8):
            rest = _shifted(rest, polynomial, width, reflected)
        table.append(rest)
    return table


def _shifted(rest: int, polynomial: int, width: int, reflected: bool) -> int:
    if reflected:
        return rest >> 1 ^ (polynomial if rest & 1 else 0)
    top = rest >> (width - 1) & 1
    return (rest << 1 ^ (polynomial if top else 0)) & (1 << width) - 1


_CRC8 = _table(0x07, 8, False)
_MODBUS = _table(0xA001, 16, True)


def crc8(data: bytes) -> int:
    """Return CRC-8/SMBUS: polynomial 07, check value F4."""
    rest = 0
    for byte in data:
        rest = _CRC8[rest ^ byte]
    return rest


def crc16_modbus(data: bytes) -> int:
    """Return CRC-16/MODBUS: check value 4B37."""
    rest = 0xFFFF
    for byte in data:
        rest = rest >> 8 ^ _MODBUS[(rest ^ byte) & 0xFF]
    return rest


def crc16_ccitt(data: bytes) -> int:
    """Return CRC-16/CCITT-FALSE: check value 29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def crc16_xmodem(data: bytes) -> int:
    """Return CRC-16/XMODEM: check value 31C3."""
    return binascii.crc_hqx(data, 0)


def crc32(data: bytes) -> int:
    """Return CRC-32/ISO-HDLC: check value CBF43926."""
    return binascii.crc32(data)


@dataclass(frozen=True)
class Check:
    """One checksum: how it is reckoned, and how it is written behind a frame."""

    reckon: Callable[[bytes], int]
    size: int  # bytes
    order: Literal["big", "little"] = "big"
    written: Literal["binary", "hex", "nmea"] = "binary"

    def add(self, payload: bytes) -> bytes:
        """Return the payload with its checksum."""
        number = self.reckon(_summed(payload, self.written))
        if self.written == "binary":
            return payload + number.to_bytes(self.size, self.order)
        digits = f"{number:0{2 * self.size}X}".encode()
        return payload + (b"*" if self.written == "nmea" else b"") + digits

    def strip(self, frame: bytes) -> bytes | None:
        """Return what is before the checksum, None if that is not right."""
        length = self.size if self.written == "binary" else 2 * self.size
        body, tail = frame[:-length], frame[-length:]
        if self.written == "nmea":
            if not body.endswith(b"*"):
                return None
            body = body[:-1]
        if len(tail) < length:
            return None
        return body if self.add(body)[-length:] == tail.upper() else None


class BinaryCheck(Check):
    """A checksum whose bytes have no letters."""

    def strip(self, frame: bytes) -> bytes | None:
        if len(frame) < self.size:
            return None
        body = frame[: -self.size]
        return body if self.add(body) == frame else None


def _summed(payload: bytes, written: str) -> bytes:
    """Return what is summed: of NMEA all behind the `$`. Source: NMEA 0183, 5.3.3."""
    if written == "nmea" and payload[:1] in (b"$", b"!"):
        return payload[1:]
    return payload


CHECKS: dict[str, Check] = {
    "nmea": Check(xor8, 1, written="nmea"),
    "xor8": BinaryCheck(xor8, 1),
    "sum8": BinaryCheck(sum8, 1),
    "lrc": BinaryCheck(lrc, 1),
    "crc8": BinaryCheck(crc8, 1),
    "crc16-modbus": BinaryCheck(crc16_modbus, 2, "little"),
    "crc16-ccitt": BinaryCheck(crc16_ccitt, 2),
    "crc16-xmodem": BinaryCheck(crc16_xmodem, 2),
    "crc32": BinaryCheck(crc32, 4, "little"),
    "xor8-hex": Check(xor8, 1, written="hex"),
    "sum8-hex": Check(sum8, 1, written="hex"),
    "lrc-hex": Check(lrc, 1, written="hex"),
}


class Checked(Framing):
    """Another framing whose frames end with a checksum."""

    def __init__(self, inner: Framing, check: Check) -> None:
        super().__init__(inner.limit)
        self._inner = inner
        self._check = check
        self._failed = 0
        self.gap = inner.gap

    @property
    def pending(self) -> bool:
        return self._inner.pending

    def feed(self, data: bytes) -> list[bytes]:
        return self._checked(self._inner.feed(data))

    def silence(self) -> list[bytes]:
        return self._checked(self._inner.silence())

    def take_pending(self) -> bytes:
        return self._inner.take_pending()

    def encode(self, payload: bytes) -> bytes:
        return self._inner.encode(self._check.add(payload))

    def _checked(self, frames: list[bytes]) -> list[bytes]:
        good: list[bytes] = []
        before = self._failed
        for frame in frames:
            payload = self._check.strip(frame)
            if payload is None:
                self._failed += 1
                self.reason = f"a wrong checksum: {frame[:40]!r}"
            else:
                good.append(payload)
        if self._failed == before:
            self.reason = self._inner.reason or self.reason
        self.wrong = self._inner.wrong + self._failed
        return good
