"""The messages around the data.

Greeting, sign-on in its four forms, credentials, heartbeat.
Source: docs/protocols/cip.md, 4.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from busbar.codecs.cip.frames import encode_frame

ALL_HANDLES = 0xFFFF  # in place of a handle: refused
CREDENTIALS = 0x40  # bit of the mode: log in first [1: W]
BOOTING, READY = 1, 2
_FLAGS = 0x40
_ROOM_SIZE = 213  # bytes of a router connect without its token


class Short(ValueError):
    """A payload that ends before its message does."""


def _need(payload: bytes, size: int) -> bytes:
    if len(payload) < size:
        raise Short(f"{len(payload)} bytes, at least {size} wanted")
    return payload


@dataclass(frozen=True)
class Hello:
    """The processor asks who we are: `state` is BOOTING [1: E] or READY [2+][cap]."""

    type: ClassVar[int] = 0x0F
    state: int = READY

    def payload(self) -> bytes:
        return bytes((self.state,))

    @classmethod
    def read(cls, payload: bytes) -> "Hello":
        return cls(_need(payload, 1)[0])


@dataclass(frozen=True)
class Connect:
    """A panel signs on.

    The long form [2+][cap] has no address and the tail ffff f101, the short one [2+] no
    tail.
    """

    type: ClassVar[int] = 0x01
    ipid: int
    address: bytes = bytes(4)
    tail: bytes = b"\xff\xff\xf1\x01"

    def payload(self) -> bytes:
        return self.address + self.ipid.to_bytes(2) + bytes((_FLAGS,)) + self.tail

    @classmethod
    def read(cls, payload: bytes) -> "Connect":
        _need(payload, 7)
        return cls(int.from_bytes(payload[4:6]), payload[:4], payload[7:])

    @classmethod
    def short(cls, ipid: int, address: bytes = b"\x7f\x00\x00\x01") -> "Connect":
        return cls(ipid, address, b"")


@dataclass(frozen=True)
class DeviceConnect:
    """A device signs on (DHCP form) [2+][cap: Z]."""

    type: ClassVar[int] = 0x0A
    ipid: int
    rest: bytes = b""

    def payload(self) -> bytes:
        return self.ipid.to_bytes(2) + self.rest

    @classmethod
    def read(cls, payload: bytes) -> "DeviceConnect":
        _need(payload, 2)
        return cls(int.from_bytes(payload[:2]), payload[2:])


@dataclass(frozen=True)
class RoomConnect:
    """A panel signs on to one of many rooms (VC-4) [2+: V, W]."""

    type: ClassVar[int] = 0x26
    ipid: int
    room: str
    model: str = "XPanel"
    host: str = "busbar"
    token: str = field(default="", repr=False)
    mask: int = 1
    mac: bytes = b"\xff" * 6

    def payload(self) -> bytes:
        head = (
            self.ipid.to_bytes(2)
            + bytes((_FLAGS, 0xF1, 1, 0, 0, 0, self.mask))
            + self.mac
        )
        texts = (
            ("Crestron", 50),
            (self.model, 50),
            (self.room.upper(), 32),
            (self.host, 64),
        )
        token = self.token.encode()
        padded = b"".join(
            text.encode("ascii", "replace")[:size].ljust(size, b"\0")
            for text, size in texts
        )
        return head + padded + len(token).to_bytes(2) + token

    @classmethod
    def read(cls, payload: bytes) -> "RoomConnect":
        _need(payload, _ROOM_SIZE)
        model, room, host = (
            _padded(payload, *place) for place in ((65, 115), (115, 147), (147, 211))
        )
        token = payload[_ROOM_SIZE:].decode(errors="replace")
        return cls(
            int.from_bytes(payload[:2]),
            room,
            model,
            host,
            token,
            payload[8],
            payload[9:15],
        )


def _padded(payload: bytes, start: int, end: int) -> str:
    return payload[start:end].rstrip(b"\0").decode("latin-1")


@dataclass(frozen=True)
class ConnectResult:
    """What became of a sign-on [2+][cap].

    Refused with the handle ffff, else the handle of all further frames [inf].
    """

    handle: int
    mode: int = 0
    # capability flags, with a room's router more; a refusal has none
    rest: bytes = b"\x1f"
    router: bool = False  # the answer to a RoomConnect [1: V][cap]

    @property
    def type(self) -> int:
        return 0x27 if self.router else 0x02

    @property
    def accepted(self) -> bool:
        return self.handle != ALL_HANDLES

    @property
    def credentials(self) -> bool:
        """Whether a user has to log in first."""
        return self.accepted and bool(self.mode & CREDENTIALS)

    def payload(self) -> bytes:
        return self.handle.to_bytes(2) + bytes((self.mode,)) + self.rest

    @classmethod
    def read(cls, payload: bytes, router: bool = False) -> "ConnectResult":
        _need(payload, 3)
        return cls(int.from_bytes(payload[:2]), payload[2], payload[3:], router)


UNKNOWN_IPID = ConnectResult(ALL_HANDLES, 2, b"")


@dataclass(frozen=True)
class Disconnect:
    """The other side leaves; of a processor: its program stops [2+].

    That a panel says it, too, is [inf].
    """

    type: ClassVar[int] = 0x03
    data: bytes = b""

    def payload(self) -> bytes:
        return self.data

    @classmethod
    def read(cls, payload: bytes) -> "Disconnect":
        return cls(payload)


@dataclass(frozen=True)
class Refused:
    """The processor ends the connection; seen while it boots [2+: E, W]."""

    type: ClassVar[int] = 0x04
    data: bytes = b"\xff\xff\x00\x02"

    def payload(self) -> bytes:
        return self.data

    @classmethod
    def read(cls, payload: bytes) -> "Refused":
        return cls(payload)


@dataclass(frozen=True)
class Authenticate:
    """Credentials [1: W]; a name has no colon."""

    type: ClassVar[int] = 0x0B
    ipid: int
    username: str
    password: str = field(repr=False)

    def payload(self) -> bytes:
        return self.ipid.to_bytes(2) + f"{self.username}:{self.password}".encode()

    @classmethod
    def read(cls, payload: bytes) -> "Authenticate":
        _need(payload, 2)
        username, _, password = payload[2:].decode(errors="replace").partition(":")
        return cls(int.from_bytes(payload[:2]), username, password)


@dataclass(frozen=True)
class AuthResult:
    """Whether the credentials are good [1: W]."""

    type: ClassVar[int] = 0x0C
    ipid: int
    ok: bool

    def payload(self) -> bytes:
        return self.ipid.to_bytes(2) + bytes((self.ok,))

    @classmethod
    def read(cls, payload: bytes) -> "AuthResult":
        _need(payload, 3)
        return cls(int.from_bytes(payload[:2]), payload[2] == 1)


@dataclass(frozen=True)
class Ping:
    """Are you there [2+][cap]?"""

    type: ClassVar[int] = 0x0D
    data: bytes = b"\0\0"

    def payload(self) -> bytes:
        return self.data

    @classmethod
    def read(cls, payload: bytes) -> "Ping":
        return cls(payload)


@dataclass(frozen=True)
class Pong:
    """Yes [2+]."""

    type: ClassVar[int] = 0x0E
    data: bytes = b"\0\0"

    def payload(self) -> bytes:
        return self.data

    @classmethod
    def read(cls, payload: bytes) -> "Pong":
        return cls(payload)


SignOn = Connect | DeviceConnect | RoomConnect
Around = (
    Hello
    | SignOn
    | ConnectResult
    | Disconnect
    | Refused
    | Authenticate
    | AuthResult
    | Ping
    | Pong
)


def _router_result(payload: bytes) -> ConnectResult:
    return ConnectResult.read(payload, router=True)


READERS: dict[int, Callable[[bytes], Around]] = {
    0x02: ConnectResult.read,
    0x27: _router_result,
    **{
        each.type: each.read
        for each in (
            Hello,
            Connect,
            DeviceConnect,
            RoomConnect,
            Disconnect,
            Refused,
            Authenticate,
            AuthResult,
            Ping,
            Pong,
        )
    },
}


def encode_around(message: Around) -> bytes:
    """Return the frame of a message."""
    return encode_frame(message.type, message.payload())
