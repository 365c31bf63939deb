"""Tell Docker whether a bridge is online, as everybody else on the bus sees it.

health.py HOST BRIDGE PASSWORD_FILE.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

LIMIT = 5.0  # s; below the `timeout` of the healthcheck


def status(host: str, port: int, bridge: str, password: str) -> str:
    """Return the state in the retained `bridge/status`, "unknown" if there is none."""
    seen: list[Any] = []
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(bridge, password)
    client.on_connect = lambda *_: subscribe(client, bridge)
    client.on_message = lambda _client, _data, message: seen.append(
        json.loads(message.payload)
    )
    client.connect(host, port)
    deadline = time.monotonic() + LIMIT
    while not seen and time.monotonic() < deadline:
        client.loop(timeout=0.2)
    client.disconnect()
    return str(seen[0]["state"]) if seen else "unknown"


def subscribe(client: Client, bridge: str) -> None:
    client.subscribe(f"busbar/{bridge}/bridge/status", qos=1)


def main(address: str, bridge: str, password_file: str) -> int:
    host, _, port = address.partition(":")
    state = status(
        host, int(port or 1883), bridge, Path(password_file).read_text().strip()
    )
    print(state)
    return 0 if state == "online" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
