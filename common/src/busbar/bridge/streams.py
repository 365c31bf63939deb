"""Streams that the device side of a bridge opens, their TLS and their trace."""

from busbar.net.streams import ByteStream, open_serial, open_tcp, open_udp, open_unix
from busbar.net.tls import Trust, server_context, trust
from busbar.net.trace import TRACE, readable

__all__ = [
    "TRACE",
    "ByteStream",
    "Trust",
    "open_serial",
    "open_tcp",
    "open_udp",
    "open_unix",
    "readable",
    "server_context",
    "trust",
]
