"""Crestron over IP (CIP), without I/O. Source: docs/protocols/cip.md.

    reader.feed(data); for message in reader.messages(): ...        bytes -> messages
    encode(message, style)                                           message -> bytes

There is no official specification. Section 1 of that page explains the marks beside
constants ([2+] independent sources agree, [cap] bytes of real equipment, [1] one source
only, [inf] inferred) and the letters of the sources.
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
