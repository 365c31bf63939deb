"""The least that publishes edges of stdin.

`python -m tests.bench.gpio_bare PORT`, a packet of QoS 0 for each byte.

What it takes is what pipe, broker and subscriber take; nobody can be faster.
"""

import os
import socket
import sys

# 3.1.1, clean session, no keep-alive
CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04bare"
STATUS, EDGES = "bare/status", "bare/edges"
SIZE = 4096  # bytes of one read


def packet(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 0; short, so that its length is a byte."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    return bytes((0x30, len(body))) + body


def main(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        broker.sendall(CONNECT)
        broker.recv(SIZE)
        broker.sendall(packet(STATUS, b"running"))
        packets = {ord("1"): packet(EDGES, b"ON"), ord("0"): packet(EDGES, b"OFF")}
        while edges := os.read(sys.stdin.fileno(), SIZE):
            broker.sendall(b"".join(packets[each] for each in edges))


if __name__ == "__main__":
    main(int(sys.argv[1]))
