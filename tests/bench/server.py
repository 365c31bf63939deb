"""What answers, or just takes, commands.

`python -m tests.bench.server ROLE URL COUNT`, until its input ends.
"""

import asyncio
import json
import sys
import threading
import time
from typing import Any

from busbar.mqtt.connection import connection
from busbar.mqtt.outbox import Outbox
from busbar.mqtt.reconnect import Received
from busbar.net.endpoint import Endpoint
from tests.bench.bridge import BASE, serving
from tests.bench.client import connected, subscribe
from tests.bench.load import Load

COMMANDS = f"{BASE}/device0/call/echo"
REPLIES = f"{BASE}/device0/reply"


async def bridge(url: str, _count: int) -> None:
    """A bridge whose command says it again."""
    async with serving(url, Load(properties=10)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def stock(url: str, _count: int) -> None:
    """The least that stock paho can do: read JSON, answer in JSON at QoS 1."""

    def on_message(client: Any, _userdata: Any, message: Any) -> None:
        fields = json.loads(message.payload)
        reply = {
            "id": fields["_id"],
            "target": "call/echo",
            "ok": True,
            "result": fields["text"],
            "time": time.time(),
        }
        client.publish(REPLIES, json.dumps(reply), 1)

    with connected(_port(url), on_message) as client:
        subscribe(client, COMMANDS)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def take(url: str, count: int) -> None:
    """Our connection alone: count messages, then say what they cost."""
    loop = asyncio.get_running_loop()
    seen, complete = 0, loop.create_future()

    def on_message(_received: Received) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            complete.set_result(None)

    async with connection(Endpoint(url), Outbox(), on_message, "taker", None) as link:
        await link.subscribe([COMMANDS])
        began = _began()
        await complete
        _report(began)


async def take_stock(url: str, count: int) -> None:
    """The same with stock paho."""
    seen, complete = 0, threading.Event()

    def on_message(_client: Any, _userdata: Any, _message: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            complete.set()

    with connected(_port(url), on_message) as client:
        subscribe(client, COMMANDS)
        began = _began()
        await asyncio.to_thread(complete.wait)
        _report(began)


def _began() -> float:
    print("ready", flush=True)
    return time.process_time()


def _report(began: float) -> None:
    print(json.dumps({"cpu": time.process_time() - began}))


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


ROLES = {"bridge": bridge, "stock": stock, "take": take, "take_stock": take_stock}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
