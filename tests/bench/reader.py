"""What reads, or calls.

`python -m tests.bench.reader ROLE URL COUNT` prints what it has measured as JSON.
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
from typing import Any

from busbar.client import Client
from tests.bench.client import connected, subscribe
from tests.bench.machine import resident

DEVICE = "bench/device0"
BASE = f"busbar/{DEVICE}"
BURST = 1000  # messages at once: fewer than a broker queues
WINDOW = 50  # calls under way


class Counter:
    """Says so after each burst, and what all of them have cost."""

    def __init__(self, count: int) -> None:
        self._left, self._count = count, count
        self.complete = threading.Event()

    def begin(self) -> None:
        print("ready", flush=True)
        self._cpu, self._began = time.process_time(), time.perf_counter()

    def took(self, _path: str, _value: Any) -> None:
        self._left -= 1
        if self._left % BURST == 0:
            print("burst", flush=True)
        if self._left == 0:
            self.complete.set()

    def report(self) -> None:
        cpu, passed = time.process_time() - self._cpu, time.perf_counter() - self._began
        print(json.dumps({"cpu": cpu / self._count, "rate": self._count / passed}))


async def sdk(url: str, count: int) -> None:
    """Changes into a callback of the client."""
    async with Client(url, devices=[DEVICE]) as bus:
        counter = Counter(count)
        bus.subscribe(
            f"{DEVICE}/state/#",
            lambda change: counter.took(change.path, change.value),
            current=False,
        )
        counter.begin()
        while not counter.complete.is_set():  # noqa: ASYNC110  # rare enough to cost nothing
            await asyncio.sleep(0.05)
        counter.report()


async def stock(url: str, count: int) -> None:
    """The least that stock paho can do: read JSON, call for each change."""
    counter = Counter(count)

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        for change in json.loads(message.payload)["changes"]:
            counter.took(change["path"], change["value"])

    with connected(int(url.rpartition(":")[2]), on_message) as client:
        subscribe(client, f"{BASE}/event/change")
        counter.begin()
        await asyncio.to_thread(counter.complete.wait)
        counter.report()


async def calls(url: str, count: int) -> None:
    """Calls of the client, so many under way."""
    async with Client(url, devices=[DEVICE]) as bus:
        device, left = bus.device(DEVICE), iter(range(count))

        async def caller() -> None:
            for _ in left:
                await device.call("echo", {"text": "MEASure:VOLTage:DC?"})

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(WINDOW)))
        print(json.dumps({"rate": count / (time.perf_counter() - began)}))


async def sdk_memory(url: str, _count: int) -> None:
    """What a device costs the client."""
    async with Client(url, devices=["bench/nothing"]) as bus:
        before = _resident()
        device = bus.device(DEVICE)
        await device.wait_online(60)
        print(
            json.dumps(
                {
                    "grown": _resident() - before,
                    "properties": len(device.snapshot().values),
                }
            )
        )


async def stock_memory(url: str, _count: int) -> None:
    """The same as dicts."""
    kept: dict[str, Any] = {}

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        kept[message.topic] = json.loads(message.payload)

    with connected(int(url.rpartition(":")[2]), on_message) as client:
        before = _resident()
        for channel in ("info", "state"):
            subscribe(client, f"{BASE}/{channel}")
        while len(kept) < 2:  # noqa: ASYNC110  # paho tells only a thread
            await asyncio.sleep(0.05)
        print(json.dumps({"grown": _resident() - before}))


def _resident() -> int:
    gc.collect()
    return resident(os.getpid())


ROLES = {
    "sdk": sdk,
    "stock": stock,
    "calls": calls,
    "sdk_memory": sdk_memory,
    "stock_memory": stock_memory,
}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
