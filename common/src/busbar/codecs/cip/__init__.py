"""Crestron over IP (CIP), without I/O.

    reader.feed(data)
    for message in reader.messages(): ...  # bytes -> messages
    data = encode(message, style)          # message -> bytes

There is no official specification. Notes such as [2+], [cap] or [1: R] say how sure a
statement is and who made it. Source: docs/protocols/cip.md, 1.
"""

from busbar.codecs.cip.frames import STRAY, Frame, Skipped, encode_frame, split
from busbar.codecs.cip.joins import (
    ANALOG_LIMIT,
    FORMS,
    HIGHEST,
    Form,
    Join,
    Kind,
    Style,
    Update,
    check,
)
from busbar.codecs.cip.reader import Message, Reader, encode
from busbar.codecs.cip.records import (
    ACKNOWLEDGE,
    ALL_CLEAR,
    END_OF_QUERY,
    END_OF_UPDATE,
    REFRESH,
    START,
    About,
    Clock,
    Command,
)
from busbar.codecs.cip.sign_on import (
    BOOTING,
    CREDENTIALS,
    READY,
    UNKNOWN_IPID,
    Authenticate,
    AuthResult,
    Connect,
    ConnectResult,
    DeviceConnect,
    Disconnect,
    Hello,
    Ping,
    Pong,
    Refused,
    RoomConnect,
    SignOn,
)
from busbar.codecs.cip.text import Encoding

__all__ = [
    "ACKNOWLEDGE",
    "ALL_CLEAR",
    "ANALOG_LIMIT",
    "BOOTING",
    "CREDENTIALS",
    "END_OF_QUERY",
    "END_OF_UPDATE",
    "FORMS",
    "HIGHEST",
    "READY",
    "REFRESH",
    "START",
    "STRAY",
    "UNKNOWN_IPID",
    "About",
    "AuthResult",
    "Authenticate",
    "Clock",
    "Command",
    "Connect",
    "ConnectResult",
    "DeviceConnect",
    "Disconnect",
    "Encoding",
    "Form",
    "Frame",
    "Hello",
    "Join",
    "Kind",
    "Message",
    "Ping",
    "Pong",
    "Reader",
    "Refused",
    "RoomConnect",
    "SignOn",
    "Skipped",
    "Style",
    "Update",
    "check",
    "encode",
    "encode_frame",
    "split",
]
