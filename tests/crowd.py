"""Many devices of bridges that do not run: what a broker retains of them."""

import socket
import time
from collections.abc import Mapping
from typing import Any

from busbar.contract import messages
from busbar.contract.messages import State, Status

AGO = 20.0  # s that the snapshots are old: nothing newer is on its way
CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05crowd"  # MQTT 3.1.1, clean
PING, PONG = b"\xc0\x00", b"\xd0\x00"
LIMIT = 60.0  # s; generous, only a broken broker needs it


def crowd(
    bridges: int, devices: int, *, values: int = 1, padding: int = 0
) -> dict[str, bytes]:
    """Return topic -> payload of so many bridges with so many devices each.

    With so many value topics of each device, and an `info` that is longer by
    `padding` bytes.
    """
    retained: dict[str, bytes] = {}
    for number in range(bridges):
        bridge = f"b{number}"
        own = {"devices": devices, "uptime": 1}
        retained |= _device(bridge, "bridge", own, 0)
        for each in range(devices):
            held = {f"v{value}": each for value in range(values)}
            retained |= _device(bridge, f"d{each:04}", held, padding)
            for path, value in held.items():
                topic = f"busbar/{bridge}/d{each:04}/state/{path}"
                retained[topic] = b"%d" % value
    return retained


def _device(
    bridge: str, name: str, values: Mapping[str, Any], padding: int
) -> dict[str, bytes]:
    now = time.time()
    kind = "bridge" if name == "bridge" else "toy"
    properties = {
        path: {"schema": {"type": "integer"}, "access": "r"} for path in values
    }
    info = {
        "contract": 1,
        "bridge": bridge,
        "device": name,
        "boot": "b1",
        "kind": kind,
        "name": name + "." * padding,
        "revision": 1,
        "properties": properties,
        "commands": {},
        "events": {},
        "blobs": {},
    }
    base = f"busbar/{bridge}/{name}"
    return {
        f"{base}/status": messages.encode(Status("online", now, "b1", 1, 0)),
        f"{base}/info": messages.encode(info),
        f"{base}/state": messages.encode(State("b1", 0, now - AGO, dict(values), {})),
    }


def names(retained: Mapping[str, bytes]) -> list[str]:
    """Return the devices, `bridge/device`, of which something is retained."""
    found = {"/".join(topic.split("/")[1:3]) for topic in retained}
    return sorted(found)


def retain(port: int, retained: Mapping[str, bytes]) -> None:
    """Have a broker retain all this; an empty payload clears.

    As bytes of MQTT 3.1.1, QoS 0: tens of thousands of topics in a second.
    """
    packets = b"".join(_publish(topic, data) for topic, data in retained.items())
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
        sock.sendall(CONNECT)
        answer = sock.recv(4)  # aedes closes for many packets before its CONNACK
        sock.sendall(packets + PING)
        while not answer.endswith(PONG):
            answer += sock.recv(100) or _ended()


def _ended() -> bytes:
    raise ConnectionError("the broker has ended the connection")


def _publish(topic: str, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2) + topic.encode() + payload
    length = b""
    left = len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length += bytes([low | 0x80 if left else low])
        if not left:
            return b"\x31" + length + body
