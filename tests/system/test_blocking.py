"""The client without asyncio, on a real Mosquitto and a toy whose bridge runs in
another thread."""

import asyncio
import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from busbar.client import (
    Change,
    DeviceTimeout,
    Expired,
    LinkLost,
    Locked,
    NotConnected,
    Offline,
    OutOfRange,
    Stale,
)
from busbar.client.blocking import Client
from busbar.config import loader
from busbar.runtime.bridge import Bridge
from busbar.runtime.service import plan
from tests.broker import Mosquitto, free_port
from tests.toy import Toy, service

LIMIT = 30.0  # s; generous, only something broken needs it


@contextmanager
def bridge(url: str, toy: Toy, name: str = "lab", **broker: str) -> Iterator[None]:
    """A bridge in a thread with a loop of its own."""
    about = json.dumps({"bridge": {"name": name}, "broker": {"url": url, **broker}})
    ready, made = (
        threading.Event(),
        queue.SimpleQueue[tuple[Bridge, asyncio.AbstractEventLoop]](),
    )

    async def run() -> None:
        wanted = service(toy)
        settings = loader.parse(about, wanted.config, {})
        running = Bridge(plan(wanted, settings, None, {}))
        made.put((running, asyncio.get_running_loop()))
        task = asyncio.create_task(running.run())
        await running.connected.wait()
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="bridge")
    thread.start()
    assert ready.wait(LIMIT)
    running, loop = made.get()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(running.stop)
        thread.join(LIMIT)


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def url(toy: Toy) -> Iterator[str]:
    with Mosquitto() as broker, bridge(broker.url, toy):
        yield broker.url


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_it_sets_calls_reads_and_tells_what_is_wrong(url: str) -> None:
    with Client(url) as bus:
        device = bus.device("lab/toy")
        device.wait_online(timeout=LIMIT)
        device.set("level", 5)
        assert (device["level"], device.reading("level").stale, device.state) == (
            5.0,
            None,
            "online",
        )
        assert device.time("level") == device.snapshot().times["level"]
        assert device.call("echo", {"text": "hi", "times": 2}) == "hihi"
        with pytest.raises(OutOfRange, match="99"):
            device.set({"level": 99})
        assert set(bus.devices()) == {"lab/bridge", "lab/toy"}
        assert bus.snapshot()["lab/toy"].values["level"] == 5.0
        device.notes["level"] = "mine"
        assert device.snapshot(notes=True).notes == {"level": "mine"}
        device.report("look")
        assert (bus.messages[0].text, device.messages[0].text) == ("look", "look")


def test_a_stated_timeout_and_a_deadline_count_as_stated(url: str) -> None:
    with Client(url) as bus:
        device = bus.device("lab/toy")
        device.wait_online(timeout=LIMIT)
        with pytest.raises((DeviceTimeout, Expired)):
            device.call("wait", 60, timeout=0.2)  # it may take 90 s
        with pytest.raises((DeviceTimeout, Expired)):
            device.call("wait", 60, deadline=time.monotonic() + 0.2)
        with pytest.raises(DeviceTimeout, match="it was not sent"):
            device.set("level", 5, deadline=time.monotonic())
        assert device.call("echo", "hi", deadline=time.monotonic() + LIMIT) == "hi"
        with pytest.raises(TypeError, match="tmeout"):
            device.set("level", 5, tmeout=1)


def test_callbacks_run_on_one_worker_thread_or_their_own_and_queues_are_filled(
    url: str,
) -> None:
    with Client(url) as bus:
        device = bus.device("lab/toy")
        device.wait_online(timeout=LIMIT)
        threads: dict[str, str] = {}
        news: queue.Queue[Change] = queue.Queue(1)

        def note(name: str) -> Callable[[Change], None]:
            return lambda change: threads.setdefault(
                name, threading.current_thread().name
            )

        for name in ("one", "two"):
            device.subscribe("level", note(name), current=False)
        bus.subscribe("lab/+/state/level", note("own"), current=False, threaded=True)
        end = device.subscribe("mode", news)
        assert news.get(timeout=LIMIT).value == "a"
        device.set("level", 7)
        until(lambda: len(threads) == 3, "the callbacks")
        assert threads["one"] == threads["two"] != threading.current_thread().name
        for mode in ("b", "a"):
            device.set("mode", mode)
        until(
            lambda: list(news.queue)[-1:] and news.queue[-1].value == "a",
            "the newest in a full queue",
        )
        end()
        device.set("mode", "b")
        assert news.get(timeout=LIMIT).value == "a"
        assert news.empty()


def test_a_stalled_callback_neither_stops_others_nor_the_end(url: str) -> None:
    stalled, seen = threading.Event(), threading.Event()
    with Client(url) as bus:
        device = bus.device("lab/toy")
        device.wait_online(timeout=LIMIT)
        device.subscribe("level", lambda change: stalled.wait(), threaded=True)
        device.subscribe("level", lambda change: seen.set())
        device.set("level", 3)
        assert seen.wait(LIMIT)
    stalled.set()


def test_a_lock_is_held_by_the_block_and_by_nobody_after_it(url: str) -> None:
    with Client(url) as bus, Client(url) as other:
        device, there = bus.device("lab/toy"), other.device("lab/toy")
        device.lock_time = 5.0
        with device.lock(owner="script"):
            device.set("level", 1)
            with pytest.raises(Locked, match="script"):
                there.set("level", 2)
            with pytest.raises(Locked), there.lock():
                pass
        assert there.set("level", 2) == 2.0
        until(lambda: device.locked is None, "the lock shown as free")


def test_a_series_is_read_with_a_limit_and_ends_with_the_client(url: str) -> None:
    bus = Client(url).start()
    device = bus.device("lab/toy")
    device.wait_online(timeout=LIMIT)
    series = device.watch("level")
    assert series.get(timeout=LIMIT).value == 1.0
    with pytest.raises(TimeoutError):
        series.get(timeout=0.01)
    device.set("level", 4)
    assert next(iter(series)).value == 4.0
    threading.Timer(0.1, bus.stop).start()
    assert list(series) == []
    bus.wait_closed()


def test_a_client_that_was_stopped_can_be_started_again(url: str) -> None:
    bus = Client(url)
    for level in (3, 4):
        with bus:
            device = bus.device("lab/toy")
            device.wait_online(timeout=LIMIT)
            seen: queue.Queue[float] = queue.Queue()
            device.subscribe(
                "level", lambda change, seen=seen: seen.put(change.value), current=False
            )
            device.set("level", level)
            assert seen.get(timeout=LIMIT) == device["level"] == level


def test_what_is_lost_is_stale_and_commands_fail_at_once(url: str, toy: Toy) -> None:
    with Client(url) as bus:
        device = bus.device("lab/toy")
        device.wait_online(timeout=LIMIT)
        series = device.watch("level")
        assert series.get(timeout=LIMIT).stale is None
        toy.reachable = False
        with contextlib.suppress(LinkLost):  # it ends the very link
            device.call("reconnect")
        until(lambda: device.stale is not None, "the end of the link")
        with pytest.raises(Offline, match="nobody there"):
            device.call("echo", {"text": "x"})
        assert series.get(timeout=LIMIT).stale is not None
        with pytest.raises(Stale):
            _ = device["level"]


def test_it_cannot_start_without_a_broker_nor_be_used_unstarted() -> None:
    bus = Client(f"mqtt://127.0.0.1:{free_port()}", timeout=0.2)
    with pytest.raises(RuntimeError, match="not started"):
        bus.device("lab/toy")
    with pytest.raises(NotConnected, match="no broker at"):
        bus.start()


SCRIPT = """
import sys, threading
from busbar.client.blocking import Client
bus = Client(sys.argv[1]).start()
stall = lambda change: threading.Event().wait()
bus.device("lab/toy").subscribe("#", stall, threaded=True)
if sys.argv[2] == "forever":
    threading.Timer(0.2, bus.stop).start()
    bus.run_forever()
print("done")
"""


@pytest.mark.parametrize("way", ["exit", "forever"])
def test_a_program_ends_although_the_client_and_a_callback_are_busy(
    url: str, way: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, url, way],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
