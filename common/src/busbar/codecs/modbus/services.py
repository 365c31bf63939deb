"""Requests about the unit itself, and those that are known by their code alone.

Sources: MODBUS Application Protocol Specification V1.1b3, 6.8 and 6.21;
docs/protocols/gct.md, 5 (function 0x44).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from busbar.codecs.modbus.pdu import PDU_LIMIT, check_echo, counted
from busbar.errors import OutOfRange, ProtocolError


@dataclass(frozen=True)
class Raw:
    """Any function: its code and bytes as they are.

    The answer is the PDU without the code.
    """

    function: int
    data: bytes = b""

    def __post_init__(self) -> None:
        if not 1 <= self.function <= 127:
            raise OutOfRange(f"function {self.function} is not 1 to 127")
        if len(self.data) >= PDU_LIMIT:
            raise OutOfRange(
                f"{len(self.data)} bytes; a request takes {PDU_LIMIT - 1} beside "
                "its function"
            )

    def encode(self) -> bytes:
        return bytes([self.function]) + self.data

    def answer(self, pdu: bytes) -> bytes:
        return pdu[1:]

    def length(self, head: bytes) -> int | None:
        if self.function == Diagnostics.function:
            return 1 + len(self.data)
        known = ANSWER_LENGTHS.get(self.function)
        if known is None:
            return None
        return known(head)


@dataclass(frozen=True)
class Diagnostics:
    """Function 8; sub-function 0 sends the data back."""

    sub: int = 0
    data: bytes = b"\0\0"
    function: ClassVar[int] = 8

    def __post_init__(self) -> None:
        if not 0 <= self.sub <= 0xFFFF:
            raise OutOfRange(f"sub-function {self.sub} is not 0 to 65535")
        if len(self.data) % 2 or len(self.data) > PDU_LIMIT - 3:
            raise OutOfRange(
                f"{len(self.data)} bytes of data; allowed: an even number up to "
                f"{PDU_LIMIT - 4}"
            )

    def encode(self) -> bytes:
        return struct.pack(">BH", self.function, self.sub) + self.data

    def answer(self, pdu: bytes) -> bytes:
        check_echo(pdu[:3], self.encode()[:3])
        if self.sub == 0:
            check_echo(pdu, self.encode())
        return pdu[3:]

    def length(self, head: bytes) -> int | None:
        return 3 + len(self.data)


@dataclass(frozen=True)
class Objects:
    """Part of an identification: object id -> bytes.

    `following` is where the next part begins, None at the end.
    """

    values: Mapping[int, bytes]
    following: int | None = None


@dataclass(frozen=True)
class Identify:
    """Function 43, MEI type 14.

    `code` 1 to 3 reads basic, regular, extended objects from `object` on; 4 reads one.
    """

    code: int = 1
    object: int = 0
    function: ClassVar[int] = 43
    mei: ClassVar[int] = 14

    def encode(self) -> bytes:
        return bytes([self.function, self.mei, self.code, self.object])

    def answer(self, pdu: bytes) -> Objects:
        end = self.length(pdu)
        if len(pdu) < 7 or pdu[1] != self.mei or end != len(pdu):
            raise ProtocolError(f"{pdu.hex(' ')[:60]} is no identification")
        values = {}
        at = 7
        while at < len(pdu):
            behind = at + 2 + pdu[at + 1]
            values[pdu[at]] = pdu[at + 2 : behind]
            at = behind
        following = pdu[5] if pdu[4] == 0xFF else None
        return Objects(values, following)

    def reply(self, objects: Objects) -> bytes:
        """Return the PDU of the answer.

        Conformity 0x83 = extended, stream and individual access.
        """
        more = [0, 0] if objects.following is None else [0xFF, objects.following]
        head = [self.function, self.mei, self.code, 0x83, *more, len(objects.values)]
        pdu = bytes(head)
        for number, value in objects.values.items():
            pdu += bytes([number, len(value)]) + value
        return pdu

    def length(self, head: bytes) -> int | None:
        if len(head) < 7:
            return None
        end = 7
        for _ in range(head[6]):
            if len(head) < end + 2:
                return None
            end += 2 + head[end + 1]
        return end


@dataclass(frozen=True)
class Ddp:
    """Function 0x44 of comsrv: a DDP command.

    The top bit of its code asks for an answer.
    """

    sub: int
    command: int
    data: bytes = b""
    wanted: bool = True  # an answer
    function: ClassVar[int] = 0x44

    def __post_init__(self) -> None:
        if not 0 <= self.sub <= 255 or not 0 <= self.command <= 127:
            raise OutOfRange(
                f"DDP sub-command {self.sub} (0 to 255), command {self.command} "
                "(0 to 127)"
            )
        if len(self.data) > PDU_LIMIT - 4:
            raise OutOfRange(
                f"{len(self.data)} bytes of DDP data; allowed: {PDU_LIMIT - 4}"
            )

    def encode(self) -> bytes:
        command = self.command | 0x80 * self.wanted
        head = [self.function, self.sub, len(self.data) + 1, command]
        return bytes(head) + self.data

    def answer(self, pdu: bytes) -> bytes:
        if len(pdu) < 3 or pdu[1] != self.sub or len(pdu) != 3 + pdu[2]:
            raise ProtocolError(
                f"{pdu.hex(' ')[:60]} does not answer DDP sub-command {self.sub}"
            )
        return pdu[3:]

    def reply(self, data: bytes) -> bytes:
        """Return the PDU of the answer with this data."""
        return bytes([self.function, self.sub, len(data)]) + data

    def length(self, head: bytes) -> int | None:
        return 3 + head[2] if len(head) > 2 else None


ANSWER_LENGTHS: Mapping[int, Callable[[bytes], int | None]] = {
    **dict.fromkeys((1, 2, 3, 4, 12, 17, 20, 21, 23), counted),
    **dict.fromkeys((5, 6, 11, 15, 16), lambda head: 5),
    7: lambda head: 2,
    22: lambda head: 7,
    24: lambda head: 3 + int.from_bytes(head[1:3], "big") if len(head) > 2 else None,
    43: Identify().length,
    Ddp.function: Ddp(0, 0).length,
}
