"""Our simulator says what Debian's simulators say to the same commands."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from busbar.testing.fakes import Clock
from indi_bridge.simulator.devices import SilentFocuser
from indi_bridge.simulator.server import SimulatedServer
from tests.traces.indi_normalised import normalised, written
from tests.traces.indi_record import converse
from tests.traces.indi_scenarios import SCENARIOS
from tests.traces.indi_text import elements
from tests.traces.trace import Line, load, names

# the programs of the drivers that it imitates
DRIVERS = {
    "indi_simulator_telescope": "Telescope Simulator",
    "indi_simulator_ccd": "CCD Simulator",
    "indi_simulator_focus": "Focuser Simulator",
    "indi_simulator_wheel": "Filter Simulator",
    "indi_simulator_dome": "Dome Simulator",
}
STEP = 0.05  # s; sockets have to keep up with the clock


def imitated(name: str) -> bool:
    return all(driver in DRIVERS for driver in SCENARIOS[name].drivers)


async def flown(doing: Coroutine[Any, Any, list[Line]]) -> list[Line]:
    """Return the result of something while time flies."""
    task = asyncio.ensure_future(doing)
    clock = Clock()
    while not task.done():
        await clock.advance(STEP)
        await asyncio.sleep(0.0005)
    return await task


async def simulated(name: str) -> list[Line]:
    """Return the conversation of a scenario with our simulator."""
    async with SimulatedServer() as server:
        server.add_observatory()
        # that of the observatory is Busy on its way
        server.crash("Focuser Simulator")
        server.add(SilentFocuser(server.send))

        def kill(driver: str) -> None:
            server.crash(DRIVERS[driver])
            server.add(SilentFocuser(server.send))

        return await flown(converse(SCENARIOS[name], server.port, kill))


@pytest.mark.parametrize("name", [each for each in names("indi") if imitated(each)])
async def test_the_simulator_says_what_the_real_one_says(name: str) -> None:
    trace = load(f"indi/{name}")
    vectors = trace.about["vectors"]
    said = normalised(elements(await simulated(name)), vectors)
    assert list(written(said)) == list(written(normalised(trace.lines, vectors)))
