"""INDI 1.7, without I/O.

    reader.feed(data); for element in reader.elements(): ...        bytes -> elements
    encode(element)                                                  element -> bytes

Numbers and times as text: `parse_number`, `format_number`, `parse_time`, `format_time`.
Source: docs/protocols/indi.md.
"""

from busbar.codecs.indi.elements import (
    KINDS,
    STATES,
    BlobData,
    BlobEnd,
    BlobStart,
    DefMember,
    DefVector,
    DelProperty,
    Element,
    EnableBLOB,
    GetProperties,
    Kind,
    Message,
    NewBlob,
    NewVector,
    PingReply,
    PingRequest,
    Range,
    SetVector,
    Skipped,
)
from busbar.codecs.indi.numbers import (
    format_number,
    format_time,
    is_sexagesimal,
    parse_number,
    parse_time,
)
from busbar.codecs.indi.reader import ElementReader
from busbar.codecs.indi.writer import encode, set_blob

__all__ = [
    "KINDS",
    "STATES",
    "BlobData",
    "BlobEnd",
    "BlobStart",
    "DefMember",
    "DefVector",
    "DelProperty",
    "Element",
    "ElementReader",
    "EnableBLOB",
    "GetProperties",
    "Kind",
    "Message",
    "NewBlob",
    "NewVector",
    "PingReply",
    "PingRequest",
    "Range",
    "SetVector",
    "Skipped",
    "encode",
    "format_number",
    "format_time",
    "is_sexagesimal",
    "parse_number",
    "parse_time",
    "set_blob",
]
