"""Crestron over IP (CIP), without I/O. Source: reference 1.

    reader.feed(data); for message in reader.messages(): ...        bytes -> messages
    encode(message, style)                                           message -> bytes

There is no official specification: this was learned from public implementations and captures. The source notes say how
sure it is: [2+] independent sources agree, [cap] bytes of real equipment, [1] one source only, [inf] inferred. Sources:

    K klenae/python-cipclient       F CommandFusion/CIP             X aleksrozman/CrestronXPanelApp
    R rdriscoll/Crestron-CIP        B balabolin/Crestron            M moty66/node-red-contrib-cip
    S cbw/SwiftCrestronCIP          L jacobshihtw/lua-cip-dissector H rellis-erigon/Crestron-CIP-HA
    V a fork of K for rooms         W a browser client, bytes only  E, P, D clients of single installations
    Z a server for audio devices    G clients of projectors
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
