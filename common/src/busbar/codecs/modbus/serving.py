"""Requests as a server reads them, and their lengths where only RTU frames them.

Source: MODBUS Application Protocol Specification V1.1b3, 6 and 7.
"""

import struct
from collections.abc import Callable, Mapping

from busbar.codecs.modbus.data import (
    MaskWrite,
    Read,
    ReadWrite,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from busbar.codecs.modbus.pdu import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    TABLES,
    refusal,
    unpack_bits,
)
from busbar.codecs.modbus.services import Ddp, Diagnostics, Identify
from busbar.errors import OutOfRange

AnyRequest = (
    Read
    | WriteCoil
    | WriteRegister
    | WriteCoils
    | WriteRegisters
    | MaskWrite
    | ReadWrite
    | Diagnostics
    | Identify
    | Ddp
)


def decode(pdu: bytes) -> AnyRequest:
    """Return the request in a PDU.

    Raise DeviceRefused with the exception that answers what is none.
    """
    function = pdu[0] if pdu else 0
    if function not in _DECODERS:
        raise refusal(function, ILLEGAL_FUNCTION)
    decoder: Callable[[bytes], AnyRequest] = _DECODERS[function]
    try:
        request = decoder(pdu)
    except OutOfRange as error:
        if error.message.startswith("address"):
            raise refusal(function, ILLEGAL_ADDRESS) from error
        raise refusal(function, ILLEGAL_VALUE) from error
    except (struct.error, IndexError) as error:
        raise refusal(function, ILLEGAL_VALUE) from error
    # a count that does not fit its data, bits set beyond the end, bytes too many
    if request.encode() != pdu:
        raise refusal(function, ILLEGAL_VALUE)
    return request


def request_length(head: bytes) -> int | None:
    """Return the bytes of a request that begins with `head`.

    None: not yet known, or only silence tells.
    """
    if not head or head[0] not in _LENGTHS:
        return None
    return _LENGTHS[head[0]](head)


def _word(pdu: bytes) -> int:
    word: int = struct.unpack_from(">H", pdu, 1)[0]
    return word


def _read(pdu: bytes) -> Read:
    return Read(TABLES[pdu[0]], *struct.unpack_from(">HH", pdu, 1))


def _write_coil(pdu: bytes) -> WriteCoil:
    address, value = struct.unpack_from(">HH", pdu, 1)
    return WriteCoil(address, value == 0xFF00)


def _write_coils(pdu: bytes) -> WriteCoils:
    address, count = struct.unpack_from(">HH", pdu, 1)
    return WriteCoils(address, tuple(unpack_bits(pdu[6:], count)))


def _read_write(pdu: bytes) -> ReadWrite:
    address, count, write_address = struct.unpack_from(">HHH", pdu, 1)
    return ReadWrite(address, count, write_address, pdu[10:])


_DECODERS: Mapping[int, Callable[[bytes], AnyRequest]] = {
    **dict.fromkeys(TABLES, _read),
    5: _write_coil,
    6: lambda pdu: WriteRegister(_word(pdu), pdu[3:]),
    8: lambda pdu: Diagnostics(_word(pdu), pdu[3:]),
    15: _write_coils,
    16: lambda pdu: WriteRegisters(_word(pdu), pdu[6:]),
    22: lambda pdu: MaskWrite(*struct.unpack_from(">HHH", pdu, 1)),
    23: _read_write,
    43: lambda pdu: Identify(pdu[2], pdu[3]),
    Ddp.function: lambda pdu: Ddp(pdu[1], pdu[3] & 0x7F, pdu[4:], bool(pdu[3] & 0x80)),
}


def _counted(fixed: int, at: int) -> Callable[[bytes], int | None]:
    """Return the length of a request with a count of bytes behind its head.

    The count is in byte `at`; None as long as that has not come.
    """

    def length(head: bytes) -> int | None:
        return fixed + head[at] if len(head) > at else None

    return length


_LENGTHS: Mapping[int, Callable[[bytes], int | None]] = {
    # 8: sub-function and one word, as nearly all of them
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 8), lambda head: 5),
    **dict.fromkeys((7, 11, 12, 17), lambda head: 1),
    **dict.fromkeys((15, 16), _counted(6, 5)),
    22: lambda head: 7,
    23: _counted(10, 9),
    24: lambda head: 3,
    43: lambda head: 4,
    Ddp.function: _counted(3, 2),
}
