"""A broker that outlives the bridge: what it kept is not taken for the present.

On real Mosquittos: one that comes back from its file after a power cut, and one behind
another whose machine has died.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from busbar.client import Client, Stale, freshness
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.cli import command
from tests.process import BENCH, BridgeProcess
from tests.watcher import Watcher

LIMIT = 60.0  # s; generous, only something broken needs it
LATER = 3600.0  # s
KEEPS = (
    "persistence true",
    "persistence_location ./",
    "autosave_interval 1800",
)
# what the broker of an edge passes on to the hub, and commands back
UPLINK = """
connection hub
address 127.0.0.1:{port}
topic busbar/# out 1
topic busbar/+/+/set/# in 1
topic busbar/+/+/call/# in 1
restart_timeout 1
notifications false
"""


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readers look at the clock an hour later."""
    now = freshness.wall_clock
    monkeypatch.setattr(freshness, "wall_clock", lambda: now() + LATER)


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto(*KEEPS) as mosquitto:
        yield mosquitto


@asynccontextmanager
async def bench(
    broker: Mosquitto, folder: Path, seen: Mosquitto | None = None
) -> AsyncIterator[BridgeProcess]:
    """A bridge of a power supply that has been read, as somebody sees it."""
    async with Simulator() as simulator:
        text = BENCH.format(psu=simulator.psu.port)
        with BridgeProcess(text, broker.url, folder) as bridge:
            async with Client((seen or broker).url) as bus:
                await bus.wait_online("bench/psu", timeout=LIMIT)
                await until(lambda: _has_voltage(bus), "the values", LIMIT)
            yield bridge


def _has_voltage(bus: Client) -> bool:
    return "voltage" in bus.device("bench/psu").snapshot().values


def cut_power(bridge: BridgeProcess, broker: Mosquitto) -> None:
    """End both without a word, the broker first: nobody publishes the will."""
    broker.kill()
    bridge.signal(signal.SIGKILL)


async def save(broker: Mosquitto) -> None:
    """Have the broker write its file."""
    file = broker.directory / "mosquitto.db"
    file.unlink(missing_ok=True)
    os.kill(broker.pid, signal.SIGUSR1)
    await until(lambda: file.exists() and file.stat().st_size, "the file", LIMIT)


async def power_cut_of_broker_and_bridge(broker: Mosquitto, folder: Path) -> None:
    """The broker comes back from its file, the bridge does not."""
    async with bench(broker, folder) as bridge:
        await save(broker)
        cut_power(bridge, broker)
        broker.start()
        topic = "busbar/bench/bridge/status"
        async with Watcher(broker.port, topic) as watcher:
            await until(lambda: watcher.on(topic), "what was kept", LIMIT)
            assert watcher.on(topic)[-1].json["state"] == "online"


async def reasons(bus: Client) -> dict[str, Any]:
    """Return why each device is stale, and that none of its values is given out."""
    found = {}
    for name, device in bus.devices().items():
        found[name] = device.stale and device.stale.code
        for path in device.snapshot().values:
            if found[name]:
                with pytest.raises(Stale, match="not heard since"):
                    _ = device[path]
    return found


@pytest.mark.usefixtures("later")
async def test_after_a_power_cut_nothing_that_the_broker_kept_is_good(
    broker: Mosquitto, tmp_path: Path
):
    await power_cut_of_broker_and_bridge(broker, tmp_path)
    async with Client(broker.url) as bus:
        assert await reasons(bus) == {
            "bench/bridge": "unconfirmed",
            "bench/psu": "unconfirmed",
        }


@pytest.mark.usefixtures("later")
async def test_the_command_line_says_so_too(broker: Mosquitto, tmp_path: Path):
    await power_cut_of_broker_and_bridge(broker, tmp_path)

    def busbar(*arguments: str) -> command.Done:
        return command.busbar(*arguments, BUSBAR_URL=broker.url)

    got = await _in_thread(busbar, "--json", "get", "bench/psu", "voltage")
    assert got.code == 5
    stale = got.json["values"]["voltage"]["stale"]
    assert stale["code"] == "unconfirmed"
    assert "not heard since" in stale["message"]
    plain = await _in_thread(busbar, "get", "bench/psu", "voltage")
    assert (plain.code, plain.out) == (5, "")
    assert "not heard since" in plain.err
    listed = await _in_thread(busbar, "--json", "ls")
    assert all("not heard since" in row["reason"] for row in listed.json)


async def _in_thread(busbar: Any, *arguments: str) -> command.Done:
    done: command.Done = await asyncio.to_thread(busbar, *arguments)
    return done


async def test_a_bridge_that_lives_is_good_at_once(broker: Mosquitto, tmp_path: Path):
    async with bench(broker, tmp_path), Client(broker.url) as bus:
        psu = bus.device("bench/psu")
        assert psu.stale is None
        assert psu["voltage"] is not None


@pytest.mark.usefixtures("later")
async def test_a_bridge_that_lives_by_another_clock_is_good_with_its_first_message(
    broker: Mosquitto, tmp_path: Path
):
    async with bench(broker, tmp_path), Client(broker.url) as bus:
        await bus.wait_online("bench/psu", timeout=LIMIT)
        assert bus.device("bench/psu")["voltage"] is not None


@pytest.mark.usefixtures("later")
async def test_the_command_line_waits_for_the_sign_of_life_of_a_bridge_that_lives(
    broker: Mosquitto, tmp_path: Path
):
    def got() -> bool:
        get = ("get", "bench/psu", "voltage")
        return command.busbar(*get, BUSBAR_URL=broker.url).code == 0

    async def gets() -> bool:
        return await asyncio.to_thread(got)

    async with bench(broker, tmp_path):
        await until(gets, "the value", LIMIT)


async def test_what_a_dead_edge_left_on_the_hub_is_not_good(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with Mosquitto() as hub, Mosquitto(*KEEPS, UPLINK.format(port=hub.port)) as edge:
        async with bench(edge, tmp_path, hub) as bridge:
            await save(edge)
            cut_power(bridge, edge)
        now = freshness.wall_clock
        monkeypatch.setattr(freshness, "wall_clock", lambda: now() + LATER)
        async with Client(hub.url) as bus:
            assert set((await reasons(bus)).values()) == {"unconfirmed"}
            # the edge's broker comes back alone, and passes on what it kept
            async with Watcher(hub.port, "busbar/bench/bridge/#") as watcher:
                edge.start()
                await until(
                    lambda: [each for each in watcher.seen if not each.retain],
                    "what the edge's broker kept",
                    LIMIT,
                )
            assert set((await reasons(bus)).values()) == {"unconfirmed"}
