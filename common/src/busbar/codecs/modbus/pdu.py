"""Requests and their answers, without any framing.

Source: MODBUS Application Protocol Specification V1.1b3, 4 and 6.

A request encodes itself, reads the answer to itself, and (for servers) encodes that
answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from busbar.errors import DeviceRefused, OutOfRange, ProtocolError

PDU_LIMIT = 253  # bytes. Section 4.1
REGISTERS_READ = 125  # of functions 3 and 4
REGISTERS_WRITTEN = 123  # of function 16
REGISTERS_EXCHANGED = 121  # of function 23
BITS_READ = 2000  # of functions 1 and 2
BITS_WRITTEN = 1968  # of function 15

Table = Literal["coil", "discrete", "input", "holding"]
NAMES: Mapping[Table, str] = {  # of what is in them
    "coil": "coils",
    "discrete": "discrete inputs",
    "input": "input registers",
    "holding": "holding registers",
}
READ: Mapping[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
TABLES: Mapping[int, Table] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
FAILURE = 4
BUSY = 6
NO_PATH = 10
NO_TARGET = 11
EXCEPTIONS: Mapping[int, str] = {  # Section 7
    ILLEGAL_FUNCTION: "illegal function",
    ILLEGAL_ADDRESS: "illegal data address",
    ILLEGAL_VALUE: "illegal data value",
    FAILURE: "server device failure",
    5: "acknowledge",
    BUSY: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    NO_PATH: "gateway path unavailable",
    NO_TARGET: "gateway target device failed to respond",
}


class Request(Protocol):
    """One request."""

    @property
    def function(self) -> int: ...

    def encode(self) -> bytes:
        """Return the PDU."""

    def answer(self, pdu: bytes) -> Any:
        """Return what the PDU of a normal answer says.

        Raise ProtocolError if it does not answer this request.
        """

    def length(self, head: bytes) -> int | None:
        """Return the bytes of a normal answer that begins with `head`.

        None: they cannot be told (yet).
        """


def check(request: Request, pdu: bytes) -> Any:
    """Return what an answer says.

    Raise DeviceRefused for an exception, ProtocolError for what is no answer to it.
    """
    if len(pdu) == 2 and pdu[0] == request.function | 0x80:
        raise refusal(request.function, pdu[1])
    if not pdu or pdu[0] != request.function:
        raise ProtocolError(
            f"function {pdu[:1].hex() or 'nothing'} answers function "
            f"{request.function:02x}"
        )
    return request.answer(pdu)


def refusal(function: int, code: int) -> DeviceRefused:
    """Return the error that an exception code stands for."""
    name = EXCEPTIONS.get(code, "unknown exception")
    return DeviceRefused(
        f"exception {code}: {name} (function {function})",
        code=code,
        text=name,
        function=function,
    )


def exception(function: int, code: int) -> bytes:
    """Return the PDU of an exception."""
    return bytes([function & 0x7F | 0x80, code])


def pack_bits(values: Sequence[bool]) -> bytes:
    """Return bits as bytes, the first in the lowest place."""
    packed = bytearray((len(values) + 7) // 8)
    for place, value in enumerate(values):
        packed[place // 8] |= bool(value) << place % 8
    return bytes(packed)


def unpack_bits(data: bytes, count: int) -> list[bool]:
    """Return exactly `count` bits."""
    return [bool(data[place // 8] >> place % 8 & 1) for place in range(count)]


def check_span(address: int, count: float, limit: int, what: str) -> None:
    """Raise OutOfRange above `limit`, for half a register, beyond address 65535."""
    if count != int(count) or not 1 <= count <= limit:
        raise OutOfRange(f"{count:g} {what}; allowed: 1 to {limit}")
    if not 0 <= address <= 0x10000 - count:
        raise OutOfRange(
            f"address {address} with {count:g} {what} is not within 0 to 65535"
        )


def check_echo(pdu: bytes, expected: bytes) -> None:
    """Raise ProtocolError if an answer does not repeat what it should."""
    if pdu != expected:
        raise ProtocolError(
            f"the answer {pdu.hex(' ')[:60]} does not repeat {expected.hex(' ')[:60]}"
        )


def counted(head: bytes) -> int | None:
    """Return the length of an answer whose second byte counts the data behind it."""
    return 2 + head[1] if len(head) > 1 else None


def counted_data(pdu: bytes, size: int) -> bytes:
    """Return the data behind their count.

    Raise ProtocolError if they are not `size` bytes, or say so.
    """
    if len(pdu) != 2 + size or pdu[1] != size:
        raise ProtocolError(
            f"the answer {pdu.hex(' ')[:60]} does not hold the expected {size} "
            "bytes of data"
        )
    return pdu[2:]
