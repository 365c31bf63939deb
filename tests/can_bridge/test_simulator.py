"""The simulator as a program, and as the example's other end."""

import asyncio
import json
import signal
import sys

import can

from busbar.config import loader
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.settings import Config
from can_bridge.simulator.__main__ import Simulator
from tests.can_bridge.peer import EXAMPLE, done, python_can, received_frame
from tests.running import running


async def test_it_says_where_it_is_and_comes_back_there(tmp_path):
    for path in (tmp_path / "port", tmp_path / "port"):
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "can_bridge.simulator.__main__",
                "--silent",
                "--can-port",
                str(path),
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 30)) == {
            "CAN_PORT": str(path)
        }
        async with python_can(
            "slcan", str(path), bitrate=500000, sleep_after_open=0
        ) as bus:
            assert (await received_frame(bus)).arbitration_id in (
                0x100,
                0x200,
                0x18FEF17E,
                0x1C4BF800,
            )
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_the_example_fits_the_simulator():
    example = EXAMPLE.with_name("example.yaml")
    async with Simulator() as simulator:
        text = example.read_text().replace("example.dbc", str(EXAMPLE))
        text = text.replace("${CAN_PORT:-/dev/ttyACM0}", str(simulator.path))
        async with running(SERVICE, text) as bus:
            await bus.status("can0", "online")
            assert await bus.value("can0", "EngineData/Running") is True
            assert await bus.value("can0", "CruiseControl/WheelSpeed") == 80
            await bus.status("can0_node18", "online")
            await until(
                lambda: (
                    {each["id"] for each in bus.events("can0", "frame")} == {0x1C4BF800}
                )
            )
            for message in bus.broker.published:
                message.payload.decode()  # `mosquitto_sub` shows it
            await bus.call(
                "can0_node18", "gct_fetch_readings", {"indices": [0], "timeout": 20}
            )
            assert await bus.value("can0_node18", "temperature") == 20
            done(await bus.set("can0", "Lamp/On", True))
            await until(
                lambda: any(frame.id == 0x210 for frame in simulator.vehicle.seen)
            )
    assert loader.load(example, Config, {"CAN_PORT": "/dev/x"}).devices[
        0
    ].databases == (str(EXAMPLE),)


async def test_an_adapter_that_nobody_reads_loses_frames_and_not_its_temper():
    async with Simulator(quiet=True) as simulator:
        async with python_can(
            "slcan", str(simulator.path), bitrate=500000, sleep_after_open=0
        ) as bus:
            await until(lambda: simulator.open)
            for _ in range(20_000):
                simulator.vehicle.put(1, bytes(8))
            assert simulator.lost > 0
            assert (await received_frame(bus)).arbitration_id == 1
        await until(lambda: not simulator.open)
        assert isinstance(bus, can.BusABC)
