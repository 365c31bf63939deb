"""A stock paho client with its own thread, as a script on the bus would have it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

LIMIT = 10.0  # s for CONNACK and SUBACK


@contextmanager
def connected(
    port: int, on_message: Callable[..., None] | None = None
) -> Iterator[paho.Client]:
    """A client with TCP_NODELAY: else Nagle's 40 ms would be all there is to see."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_socket_open = _no_delay
    client.on_message = on_message
    answered = threading.Event()
    client.on_connect = lambda *_: answered.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        if not answered.wait(LIMIT):
            raise RuntimeError("the broker does not answer")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def subscribe(client: paho.Client, filter_: str) -> None:
    """Subscribe at QoS 1 and wait for SUBACK."""
    answered = threading.Event()
    client.on_subscribe = lambda *_: answered.set()
    client.subscribe(filter_, 1)
    if not answered.wait(LIMIT):
        raise RuntimeError(f"no SUBACK for {filter_}")


def _no_delay(_client: Any, _userdata: Any, sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
