"""What the device side of a bridge opens: serial ports, TCP, UDP and unix sockets, TLS.

What a trace shows of them.
"""

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
