"""Captures in sigrok's session format: a zip with `metadata` and the samples in parts.

Source: docs/protocols/instruments.md, 11.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from busbar.codecs.sigrok.described import parse_frequency
from busbar.errors import ProtocolError, TooLarge

ENTRIES = 200_000  # parts of an archive; libsigrok makes one of each 4 KiB
METADATA = 1024 * 1024  # bytes; a hundred channels have 2 KiB
UNIT = 64  # bytes of one sample of all logic channels: 512 of them
FLOAT = 4  # bytes of an analog sample: float32, little endian

_PROBE = re.compile(r"probe([0-9]{1,4})")
_ANALOG = re.compile(r"analog([0-9]{1,4})")
_PART = re.compile(r"(logic-1|analog-1-[0-9]{1,4})(?:-([0-9]{1,9}))?")
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def _levels(bit: int) -> bytes:
    """Return what turns bytes into the level of one of their bits."""
    return bytes(byte >> bit & 1 for byte in range(256))


_BITS = tuple(map(_levels, range(8)))


@dataclass(frozen=True)
class Capture:
    """Samples of all channels of one capture, from one moment on."""

    rate: int | None  # samples/s; None: the device has none
    logic: Mapping[str, int]  # channel -> its bit in a unit
    unit: int  # bytes of a sample of all logic channels, 0 without any
    data: bytes  # the units, lowest bit first
    analog: Mapping[str, bytes]  # channel -> float32, little endian

    @property
    def channels(self) -> tuple[str, ...]:
        return (*self.logic, *self.analog)

    @property
    def samples(self) -> int:
        """Samples of each channel; of one that has fewer, what all of them have."""
        counts = [len(each) // FLOAT for each in self.analog.values()]
        if self.logic:
            counts.append(len(self.data) // self.unit)
        return min(counts, default=0)

    def bits(self, channel: str) -> bytes:
        """Return the samples of a logic channel, 0 or 1 each."""
        byte, bit = divmod(self.logic[channel], 8)
        taken = self.data[byte :: self.unit][: self.samples]
        return taken.translate(_BITS[bit])

    def only(self, channels: tuple[str, ...]) -> "Capture":
        """Return it with these channels, in their own order."""
        logic = {name: bit for name, bit in self.logic.items() if name in channels}
        analog = {name: data for name, data in self.analog.items() if name in channels}
        return Capture(self.rate, logic, self.unit, self.data, analog)


def read(data: bytes, limit: int) -> Capture:
    """Return what an archive holds.

    Raise ProtocolError, or TooLarge for one of more than `limit` bytes of samples.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive, limit)
    except _BROKEN as error:
        raise ProtocolError(f"not a sigrok session: {error}") from error


def _read(archive: zipfile.ZipFile, limit: int) -> Capture:
    entries = archive.infolist()
    if len(entries) > ENTRIES:
        raise TooLarge(f"{len(entries)} parts of a capture; {ENTRIES} are read")
    total = sum(each.file_size for each in entries)
    if total > limit + METADATA:
        raise TooLarge(f"{total} bytes of samples; the limit is {limit}", limit=limit)
    about = archive.getinfo("metadata")
    if about.file_size > METADATA:
        raise ProtocolError(f"metadata of {about.file_size} bytes")
    keys = dict(_keys(archive.read(about).decode("utf-8", "replace")))
    parts = _parts(archive, entries)
    return _capture(keys, parts)


def _keys(text: str) -> Iterator[tuple[str, str]]:
    """Return the keys of the first device."""
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip()
        elif section == "[device 1]":
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _parts(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]
) -> dict[str, bytes]:
    """Return the samples by the name of their parts, put together in order."""
    found: dict[str, list[tuple[int, zipfile.ZipInfo]]] = {}
    for each in entries:
        match = _PART.fullmatch(each.filename)
        if match:
            found.setdefault(match[1], []).append((int(match[2] or 0), each))
    joined = {}
    for name, numbered in found.items():
        numbered.sort(key=lambda part: part[0])
        joined[name] = b"".join(archive.read(each) for _, each in numbered)
    return joined


def _capture(keys: Mapping[str, str], parts: Mapping[str, bytes]) -> Capture:
    logic, analog = {}, {}
    for key, name in keys.items():
        probe, wave = _PROBE.fullmatch(key), _ANALOG.fullmatch(key)
        if probe:
            logic[name] = int(probe[1]) - 1
        elif wave:
            analog[name] = parts.get(f"analog-1-{wave[1]}", b"")
    unit = int(keys.get("unitsize", "0") or 0)
    if not 0 <= unit <= UNIT:
        raise ProtocolError(f"a unit of {unit} bytes; at most {UNIT} can be")
    for name, bit in logic.items():
        if not 0 <= bit < 8 * unit:
            raise ProtocolError(f"{name} is bit {bit} of a unit of {unit} bytes")
    rate = keys.get("samplerate")
    data = parts.get("logic-1", b"")
    return Capture(parse_frequency(rate) if rate else None, logic, unit, data, analog)
