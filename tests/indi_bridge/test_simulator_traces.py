"""Our simulator says what Debian's simulators say to the same commands."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from busbar.codecs import indi
from busbar.codecs.indi import DefVector, Element
from busbar.testing.fakes import Clock
from indi_bridge.simulator.devices import SilentFocuser
from indi_bridge.simulator.server import SimulatedServer
from tests.traces.indi_normalised import normalised, written
from tests.traces.indi_record import converse
from tests.traces.indi_scenarios import SCENARIOS
from tests.traces.indi_text import elements, parsed
from tests.traces.trace import Line, load, names

# the programs of the drivers that it imitates
DRIVERS = {
    "indi_simulator_telescope": "Telescope Simulator",
    "indi_simulator_ccd": "CCD Simulator",
    "indi_simulator_focus": "Focuser Simulator",
    "indi_simulator_wheel": "Filter Simulator",
    "indi_simulator_dome": "Dome Simulator",
    "indi_simulator_rotator": "Rotator Simulator",
    "indi_simulator_lightpanel": "Light Panel Simulator",
    "indi_simulator_gps": "GPS Simulator",
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


# as many as its images have pixels
OTHER_BOUNDS = ("CCD_FRAME",)


def shape(vector: DefVector) -> tuple[object, ...]:
    """Return what of a definition is the same for both."""
    members: list[tuple[object, ...]] = []
    for each in vector.members:
        bounds: tuple[float, ...] = ()
        if vector.kind == "Number" and vector.name not in OTHER_BOUNDS:
            bounds = tuple(map(indi.parse_number, (each.min, each.max, each.step)))
        members.append((each.name, each.format, *bounds))
    # indipyclient takes that of a BLOB for 0, and our dump is compared with its own
    timeout = 0.0 if vector.kind == "BLOB" else vector.timeout
    rules = (vector.kind, vector.perm, vector.rule, timeout)
    return (vector.device, vector.name, *rules, tuple(members))


def recorded(name: str) -> set[tuple[object, ...]]:
    """Return the definitions in a trace."""
    found: list[Element] = []
    for line in load(f"indi/{name}").lines:
        found += parsed(line.data)
    return {shape(each) for each in found if type(each) is DefVector}


@pytest.mark.parametrize("name", [each for each in names("indi") if imitated(each)])
async def test_the_simulator_defines_what_the_real_one_defines(name: str) -> None:
    async with SimulatedServer() as server:
        server.add_observatory()
        ours = set()
        for driver in server.drivers.values():
            driver.set("CONNECTION", {"CONNECT": "On"})
            ours |= {shape(each) for each in driver.definitions()}
        assert not recorded(name) - ours
