"""The simulator as a program, and as a server that indipyclient takes for one."""

import asyncio
import json
import signal
import sys

from indipyclient import IPyClient

from busbar.testing.fakes import until
from indi_bridge.simulator.server import SimulatedServer


async def test_it_says_where_it_is_serves_and_ends_when_told() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "indi_bridge.simulator.__main__"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = json.loads(await process.stdout.readline())["INDI_PORT"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"<getProperties version='1.7' device='CCD Simulator' name='CONNECTION'/>"
        )
        assert (b'device="CCD Simulator" name="CONNECTION"') in await reader.readuntil(
            b"</defSwitchVector>"
        )
        writer.close()
    finally:
        process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_port_that_is_taken_is_said() -> None:
    async with SimulatedServer() as simulator:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "indi_bridge.simulator.__main__",
                "--indi-port",
                str(simulator.port),
            ),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert said.startswith(b"simulator: ")


async def test_indipyclient_connects_the_camera_and_has_its_image() -> None:
    async with SimulatedServer() as simulator:
        simulator.add_observatory()
        client = IPyClient("127.0.0.1", simulator.port)
        client.enable_reports = False
        client.enableBLOBdefault = "Also"
        running = asyncio.ensure_future(client.asyncrun())
        await until(lambda: "CCD Simulator" in client, "the camera")
        await client.send_newVector(
            "CCD Simulator", "CONNECTION", members={"CONNECT": "On"}
        )
        await until(lambda: "CCD1" in client["CCD Simulator"], "its properties")
        await until(
            lambda: any(each.policies for each in simulator.clients), "enableBLOB"
        )
        await client.send_newVector(
            "CCD Simulator", "CCD_EXPOSURE", members={"CCD_EXPOSURE_VALUE": "0.05"}
        )
        await until(lambda: client["CCD Simulator"]["CCD1"]["CCD1"], "the image")
        assert client["CCD Simulator"]["CCD1"]["CCD1"].startswith(b"SIMPLE  =")
        client.shutdown()
        await running
