"""Modbus without I/O.

    request = Read("holding", 100, 2)
    encode("rtu", Frame(17, request.encode()))         # request -> bytes
    for frame in reader.feed(data):
        check(request, frame.pdu)                      # bytes -> value of the answer

Sources: MODBUS Application Protocol Specification V1.1b3, MODBUS over Serial Line
V1.02, Messaging on TCP/IP V1.0b.
"""

from busbar.codecs.modbus.data import (
    MaskWrite,
    Read,
    ReadWrite,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from busbar.codecs.modbus.framing import (
    Frame,
    Framing,
    Reader,
    crc,
    encode,
    lrc,
    reader,
)
from busbar.codecs.modbus.pdu import (
    BITS_READ,
    BITS_WRITTEN,
    BUSY,
    EXCEPTIONS,
    FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    NO_PATH,
    NO_TARGET,
    READ,
    REGISTERS_READ,
    REGISTERS_WRITTEN,
    Request,
    Table,
    check,
    exception,
    refusal,
)
from busbar.codecs.modbus.services import Ddp, Diagnostics, Identify, Objects, Raw
from busbar.codecs.modbus.serving import AnyRequest, decode, request_length

__all__ = [
    "AnyRequest",
    "BITS_READ",
    "BITS_WRITTEN",
    "BUSY",
    "Ddp",
    "Diagnostics",
    "EXCEPTIONS",
    "FAILURE",
    "Frame",
    "Framing",
    "ILLEGAL_ADDRESS",
    "ILLEGAL_FUNCTION",
    "ILLEGAL_VALUE",
    "Identify",
    "MaskWrite",
    "NO_PATH",
    "NO_TARGET",
    "Objects",
    "READ",
    "REGISTERS_READ",
    "REGISTERS_WRITTEN",
    "Raw",
    "Read",
    "ReadWrite",
    "Reader",
    "Request",
    "Table",
    "WriteCoil",
    "WriteCoils",
    "WriteRegister",
    "WriteRegisters",
    "check",
    "crc",
    "decode",
    "encode",
    "exception",
    "lrc",
    "reader",
    "refusal",
    "request_length",
]
