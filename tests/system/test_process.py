"""A bridge as a process whose log nobody reads, or whose loop a session blocks."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from tests.broker import Mosquitto
from tests.watcher import Watcher

LIMIT = 60.0  # s; generous, only something broken needs it
BLOCKS = """
import sys
import time
from busbar.link.session import Link
from busbar.runtime.service import Service, run
from tests import toy

class Blocks(toy.ToySession):
    async def set(self, device, path, value, turn):
        time.sleep(3600)  # the mistake

toy.ToySession = Blocks
sys.exit(run(toy.service(toy.Toy())))
"""
TOY = """
import sys
from busbar.runtime.service import run
from tests import toy

sys.exit(run(toy.service(toy.Toy())))
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as mosquitto:
        yield mosquitto


@contextmanager
def bridge(
    program: str, url: str, folder: Path, stderr: int, *extra: str
) -> Iterator[subprocess.Popen[bytes]]:
    file = folder / "bridge.yaml"
    file.write_text("bridge: {name: lab}\n")
    arguments = ["--config", str(file), "--broker", url, *extra]
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    with subprocess.Popen(command, stderr=stderr, cwd=Path.cwd()) as process:
        try:
            yield process
        finally:
            process.kill()


async def outcome(watcher: Watcher, device: str, name: str, id_: str) -> None:
    """Call a command and wait for its outcome."""
    topic = f"busbar/lab/{device}"

    def answered() -> bool:
        replies = [each for each in watcher.seen if each.topic == f"{topic}/reply"]
        return any(each.json["id"] == id_ for each in replies if each.payload)

    watcher.publish(f"{topic}/call/{name}", json.dumps({"_id": id_}))
    await until(answered, f"the outcome of {name}", LIMIT)


@pytest.mark.parametrize("level", ["trace", "info"])
async def test_a_log_that_nobody_reads_does_not_stop_a_bridge(
    level: str, broker: Mosquitto, tmp_path: Path
) -> None:
    unread, written = os.pipe()
    with bridge(TOY, broker.url, tmp_path, written, "--log-level", level) as process:
        os.close(written)
        async with Watcher(broker.port) as watcher:
            await until(lambda: is_online(watcher), "the bridge online", LIMIT)
            for number in range(800):
                name = f"{number} {'odd' * 30}"
                watcher.publish(f"busbar/lab/{name}/call/refresh", "{}")
                if number % 100 == 0:
                    await outcome(watcher, "toy", "refresh", f"refresh {number}")
            await outcome(watcher, "toy", "refresh", "the last one")
            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None, "the end", LIMIT)
            assert process.returncode == 0
    os.close(unread)


async def test_a_blocked_loop_is_named_and_the_same_signal_again_ends_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        bridge(BLOCKS, broker.url, tmp_path, file.fileno()) as process,
    ):
        async with Watcher(broker.port) as watcher:
            await until(lambda: is_online(watcher), "the bridge online", LIMIT)
            watcher.publish("busbar/lab/toy/set/level", "2")
            await until(lambda: "blocked" in log.read_text(), "the report", LIMIT)
            assert "<string>, line 10, in set" in log.read_text()
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)  # else the kernel makes one of two
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None, "the end", LIMIT)
    assert process.returncode == 143
    assert "SIGTERM came twice: ending at once" in log.read_text()


def is_online(watcher: Watcher) -> bool:
    for device in ("toy", "bridge"):
        topic = f"busbar/lab/{device}/status"
        seen = [each.json["state"] for each in watcher.seen if each.topic == topic]
        if not seen or seen[-1] != "online":
            return False
    return True
