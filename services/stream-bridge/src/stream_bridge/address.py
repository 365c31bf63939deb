"""Addresses of byte streams.

`serial::PORT::BAUD::8N1`, `ftdi::SERIAL::BAUD::8N1`, `tcp::HOST:PORT`, `tls::`,
`listen::`, `udp::`, `unix::PATH`, `rfc2217::HOST:PORT[::BAUD::8N1]`.
"""

import re
from typing import Literal, cast

import msgspec

Transport = Literal["serial", "rfc2217", "tcp", "tls", "listen", "udp", "unix"]

LOOPBACK = "127.0.0.1"
_SERIAL = re.compile(
    r"(serial|ftdi)::(.+?)::(\d{2,8})(?:::([5-8])([NEOMS])(1|1\.5|2))?",
    re.ASCII | re.IGNORECASE,
)
_NETWORK = re.compile(
    r"(tcp|tls|listen|udp|rfc2217):(?::)?"
    r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]:|([^\s:/@\[\]]+):|)(\d{1,5})"
    r"(?:::(\d{2,8})(?:::([5-8])([NEOMS])(1|1\.5|2))?)?",
    re.ASCII | re.IGNORECASE,
)
_UNIX = re.compile(r"unix::([@/]\S+)", re.IGNORECASE)
FORMS = (
    "serial::/dev/ttyUSB0::9600::8N1, ftdi::SERIAL::9600::8N1, tcp::HOST:PORT, "
    "tls::HOST:PORT, listen::HOST:PORT, udp::HOST:PORT, unix::/PATH, "
    "rfc2217::HOST:PORT::9600::8N1 (an IPv6 host in brackets)"
)


class Place(msgspec.Struct, frozen=True):
    """Where a stream is."""

    transport: Transport
    host: str = ""  # or the path, or what finds a serial port
    port: int = 0
    baudrate: int = 9600
    bits: Literal[5, 6, 7, 8] = 8
    parity: Literal["N", "E", "O", "M", "S"] = "N"
    stop: float = 1
    usb_serial: bool = False  # `host` is the serial number of an adapter

    @property
    def is_port(self) -> bool:
        """Whether it is a serial port, here or behind a server."""
        return self.transport in ("serial", "rfc2217")

    @property
    def loses_nothing(self) -> bool:
        """Whether a new connection has no bytes of the one before."""
        return self.transport in ("tcp", "tls", "unix")


def place(address: str) -> Place:
    """Return what an address says; raise ValueError."""
    serial = _SERIAL.fullmatch(address)
    if serial:
        kind, port, *line = serial.groups()
        found = Place("serial", port, usb_serial=kind.lower() == "ftdi")
        return _with_line(found, *line)
    unix = _UNIX.fullmatch(address)
    if unix:
        return Place("unix", unix[1])
    network = _NETWORK.fullmatch(address)
    if network:
        return _network(address, network)
    raise ValueError(f"address: {address!r} is none of {FORMS}")


def _network(address: str, found: re.Match[str]) -> Place:
    scheme, bracketed, host, port, baud, *format_ = found.groups()
    transport = cast("Transport", scheme.lower())
    host = bracketed or host
    if host is None:
        if transport != "listen":
            raise ValueError(f"address: {address!r} has no host")
        host = LOOPBACK
    lowest = 0 if transport == "listen" else 1
    number = _within("port", port, lowest, 65535)
    if baud is None:
        return Place(transport, host, number)
    if transport != "rfc2217":
        raise ValueError(f"address: {address!r}: {scheme} has no baud rate")
    return _with_line(Place(transport, host, number), baud, *format_)


def _with_line(
    found: Place, baud: str, bits: str | None, parity: str | None, stop: str | None
) -> Place:
    """Return a place with baud rate and format, 8N1 where none is given."""
    return msgspec.structs.replace(
        found,
        baudrate=_within("baud", baud, 50, 20_000_000),
        bits=int(bits or 8),
        parity=(parity or "N").upper(),
        stop=float(stop or 1),
    )


def _within(what: str, text: str, low: int, high: int) -> int:
    number = int(text)
    if not low <= number <= high:
        raise ValueError(f"address: {what} {number} is not {low} to {high}")
    return number
