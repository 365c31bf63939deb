"""Hostile and malformed commands without end, the same ones for the same seed."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

# Nothing that takes long, has a bug on purpose, leaves the bus or locks the others out.
TARGETS = (
    "toy/set/level",
    "toy/set/mode",
    "toy/set/on",
    "toy/set/name",
    "toy/set/axes",
    "toy/set/reading",
    "toy/set/digital/7",
    "toy/set/digital/0",
    "toy/set",
    "toy/set/nothing",
    "toy/call/echo",
    "toy/call/stop",
    "toy/call/refresh",
    "toy/call/cancel",
    "toy/call/unlock",
    "toy/call/nothing",
    "toy/call/asked",
    "bridge/call/list",
    "bridge/call/cancel",
    "bridge/call/scan",
    "bridge/call/shutdown",
    "bridge/set/uptime",
    "nobody/call/echo",
)
GOOD: tuple[Any, ...] = (
    5,
    5.0,
    True,
    "a",
    "on",
    {},
    {"text": "x"},
    {"text": "x", "times": 2},
    {"RA": 1, "DEC": 2},
    {"level": 3, "mode": "b"},
    {"_value": 5, "_id": "an-id-of-a-client"},
    {"id": "x"},
    {"lease": "x"},
    {"text": "y", "_ttl": 1, "_timeout": 1},
)
KEYS = (
    "level",
    "mode",
    "text",
    "times",
    "RA",
    "_value",
    "_id",
    "_reply",
    "_ttl",
    "_sent",
    "_timeout",
    "_wait",
    "_lease",
)
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**63,
    2**64,
    10**30,
    1e308,
    -0.0,
    1e-320,
    "",
    "true",
    "\u0000",
    "\ud7ff",
    "😀" * 50,
    "../..",
    "busbar/reply/x",
    "busbar/lab/toy/set/level",
    "$SYS/x",
    "#",
    [],
    {},
    [[]],
    {"": ""},
    {"_": 1},
    "x" * 3000,
)
WORDS = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-",
    b"0x10",
    b"01",
    b"{",
    b"}",
    b'{"a"',
    b"[" * 200,
    b"\xff\xfe",
    b"\xc0\x80",
)


class Hostile:
    """One source of commands.

    `command` returns a topic below the bridge's and a payload that is not empty.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers: tuple[Callable[[], bytes], ...] = (
            self._good,
            self._mutated,
            self._noise,
            self._odd,
            self._packed,
            self._broken,
        )

    def command(self) -> tuple[str, bytes]:
        return self._random.choice(TARGETS), self._random.choice(self._makers)() or b"x"

    def _good(self) -> bytes:
        return json.dumps(self._random.choice(GOOD)).encode()

    def _mutated(self) -> bytes:
        """A good payload with a few bytes changed, cut out or doubled."""
        data = bytearray(self._good())
        for _ in range(self._random.randint(1, 4)):
            place = self._random.randrange(len(data) + 1)
            data[place : place + self._random.randint(0, 2)] = self._random.randbytes(
                self._random.randint(0, 3)
            )
        return bytes(data)

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.randint(1, 40))

    def _odd(self) -> bytes:
        return json.dumps(self._object()).encode()

    def _packed(self) -> bytes:
        value = self._object()
        try:
            packed = msgspec.msgpack.encode(value)
        except (OverflowError, msgspec.MsgspecError):
            # an integer that MessagePack cannot say
            return b"\x81\xa1a"
        return (
            packed
            if self._random.random() < 0.7
            else packed[: self._random.randint(1, len(packed))]
        )

    def _broken(self) -> bytes:
        return self._random.choice(WORDS) + (
            self._good() if self._random.random() < 0.3 else b""
        )

    def _object(self, depth: int = 0) -> dict[str, Any]:
        return {
            self._random.choice(KEYS): self._value(depth)
            for _ in range(self._random.randint(0, 4))
        }

    def _value(self, depth: int) -> Any:
        if depth < 20 and self._random.random() < 0.3:
            inner = self._object(depth + 1)
            return inner if self._random.random() < 0.5 else [inner]
        return self._random.choice(ODD)
