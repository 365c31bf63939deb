"""Addresses of Modbus lines and units.

`modbus::FRAMING::WHERE[::UNIT]`, where WHERE is HOST[:PORT] or, on a serial line,
PATH::BAUD::8N1.
"""

import re
from typing import Literal, cast

import msgspec

from busbar.codecs.modbus import Framing

Transport = Literal["tcp", "tls", "udp", "serial"]
PORTS = {"tls": 802}  # else 502
UNIT = 255  # of a device of its own on TCP. Source: Messaging on TCP/IP V1.0b, 4.4.2

_HEAD = re.compile(r"modbus::(tcp|tls|udp|rtu|ascii)::(.+)", re.ASCII)
_SERIAL = re.compile(
    r"([^:]\S*?)::(\d{2,8})::([5-8])([NEOMS])(1|1\.5|2)(?:::(\d{1,3}))?",
    re.ASCII | re.IGNORECASE,
)
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/@\[\]]+))(?::(\d{1,5}))?(?:::(\d{1,3}))?",
    re.ASCII,
)  # an IPv6 host in brackets
_LISTEN = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^\s:/@\[\]]+)):(\d{1,5})", re.ASCII
)


class Place(msgspec.Struct, frozen=True):
    """Where a line is, and what is spoken there."""

    framing: Framing
    transport: Transport
    host: str = ""  # or the path of a serial port
    port: int = 0
    baudrate: int = 0
    bits: Literal[5, 6, 7, 8] = 8
    parity: Literal["N", "E", "O", "M", "S"] = "N"
    stop: float = 1
    unit: int | None = None

    @property
    def character(self) -> float:
        """Seconds that one character takes; 0 where there is no serial line."""
        if not self.baudrate:
            return 0.0
        size = 1 + self.bits + (self.parity != "N") + self.stop
        return size / self.baudrate


def place(address: str) -> Place:
    """Return what an address says; raise ValueError."""
    found = _HEAD.fullmatch(address)
    if found is None:
        raise ValueError(
            f"address: {address!r} is not modbus::tcp::HOST:PORT, "
            f"modbus::rtu::/dev/ttyUSB0::9600::8N1 or alike; "
            "allowed: tcp, tls, udp, rtu and ascii"
        )
    scheme, where = found.groups()
    serial = _SERIAL.fullmatch(where)
    if serial:
        return _serial(scheme, serial)
    host = _HOST.fullmatch(where)
    if host:
        return _host(scheme, host)
    raise ValueError(
        f"address: {where!r} is neither HOST[:PORT][::UNIT] (an IPv6 host in "
        f"brackets) nor PATH::BAUD::8N1[::UNIT]"
    )


def _serial(scheme: str, found: re.Match[str]) -> Place:
    path, baudrate, bits, parity, stop, unit = found.groups()
    if scheme in ("tls", "udp"):
        raise ValueError(
            f"address: {scheme} is not spoken on a serial line; allowed: rtu, "
            "ascii, tcp (MBAP)"
        )
    return Place(
        cast("Framing", scheme),
        "serial",
        path,
        baudrate=_within("baud", baudrate, 50, 20_000_000),
        bits=cast("Literal[5, 6, 7, 8]", int(bits)),
        parity=cast("Literal['N', 'E', 'O', 'M', 'S']", parity.upper()),
        stop=float(stop),
        unit=_unit(unit),
    )


def _host(scheme: str, found: re.Match[str]) -> Place:
    bracketed, host, port, unit = found.groups()
    transport = scheme if scheme in ("tls", "udp") else "tcp"
    framing = scheme if scheme in ("rtu", "ascii") else "tcp"
    number = _within("port", port, 1, 65535) if port else PORTS.get(scheme, 502)
    return Place(
        cast("Framing", framing),
        cast("Transport", transport),
        bracketed or host,
        port=number,
        unit=_unit(unit),
    )


def listen(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` for a listener of ours.

    Port 0 = any free one; raise ValueError.
    """
    found = _LISTEN.fullmatch(address)
    if found is None:
        raise ValueError(
            f"listen: {address!r} is not HOST:PORT, such as 127.0.0.1:1502 or "
            f"0.0.0.0:1502"
        )
    bracketed, host, port = found.groups()
    return bracketed or host, _within("port", port, 0, 65535)


def _unit(text: str | None) -> int | None:
    return None if text is None else _within("unit", text, 0, 255)


def _within(what: str, text: str, low: int, high: int) -> int:
    number = int(text)
    if not low <= number <= high:
        raise ValueError(f"address: {what} {number} is not {low} to {high}")
    return number
