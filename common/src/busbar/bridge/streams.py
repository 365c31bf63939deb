"""Streams that the device side of a bridge opens, their TLS and their trace."""

from busbar.net.debt import Debt
from busbar.net.serial_port import LineErrors, Pins, SerialStream, open_serial
from busbar.net.streams import ByteStream, open_tcp, open_udp, open_unix
from busbar.net.tls import Trust, server_context, trust
from busbar.net.trace import TRACE, readable

__all__ = [
    "TRACE",
    "ByteStream",
    "Debt",
    "LineErrors",
    "Pins",
    "SerialStream",
    "Trust",
    "open_serial",
    "open_tcp",
    "open_udp",
    "open_unix",
    "readable",
    "server_context",
    "trust",
]
