"""Programs that nobody here wrote, as processes.

Mbpoll, a server made of libmodbus, pymodbus's simulator, socat.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from busbar.testing.fakes import until
from tests.broker import free_port

SOURCE = Path(__file__).parents[1] / "peers/libmodbus_server.c"
LIMIT = 30.0  # s; generous, only a failure needs it


@asynccontextmanager
async def process(*command: str, says: str = "") -> AsyncIterator[str]:
    """Run a program; entered = it has said what it says, given is the line.

    Left = it is gone.
    """
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        line = ""
        async with asyncio.timeout(LIMIT):
            while says and not re.search(says, line):
                line = (await running.stdout.readline()).decode()
                assert line, f"{command[0]} has ended"
        yield line.strip()
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


def built(folder: Path) -> Path:
    """Build the server made of libmodbus."""
    program = folder / "libmodbus_server"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-o", program, SOURCE, "-lmodbus"], check=True
    )
    return program


@asynccontextmanager
async def cable(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The two ends of a serial cable."""
    ends = folder / "one", folder / "other"
    async with process("socat", *(f"pty,raw,echo=0,link={end}" for end in ends)):
        await until(lambda: all(end.exists() for end in ends), "the cable")
        try:
            yield str(ends[0]), str(ends[1])
        finally:
            for end in ends:
                # before it goes: the system gives its number to the next that asks
                end.unlink()


async def mbpoll(*arguments: str) -> dict[int, str]:
    """Return what mbpoll reads, by reference; {} for a write.

    Raise AssertionError with its words if it fails.
    """
    running = await asyncio.create_subprocess_exec(
        "mbpoll",
        "-1",
        "-o",
        "5",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT):
        out, _ = await running.communicate()
    text = out.decode()
    assert running.returncode == 0, text
    return {
        int(number): value.strip()
        for number, value in re.findall(r"^\[(\d+)\]:(.*)$", text, re.MULTILINE)
    }


@asynccontextmanager
async def pymodbus_simulator(folder: Path) -> AsyncIterator[int]:
    """pymodbus's simulator with one shared table; given is its port."""
    port, http = free_port(), free_port()
    unset = {
        "bits": 0,
        "uint16": 0,
        "uint32": 0,
        "float32": 0.0,
        "float64": 0.0,
        "string": " ",
    }
    setup = {
        "co size": 200,
        "di size": 200,
        "hr size": 200,
        "ir size": 200,
        "shared blocks": True,
    }
    setup |= {
        "type exception": False,
        "defaults": {"value": unset, "action": dict.fromkeys(unset)},
    }
    device = {
        "setup": setup,
        "invalid": [99],
        "write": [10, [12, 13], [30, 40]],
        "uint16": [{"addr": 10, "value": 215}, {"addr": [30, 40], "value": 7}],
        "bits": [],
        "uint32": [],
        "float32": [{"addr": [12, 13], "value": 12.5}],
        "float64": [],
        "string": [{"addr": [18, 20], "value": "Busbar"}],
        "repeat": [],
    }
    identity = {
        "VendorName": "pymodbus",
        "ProductCode": "PM",
        "ModelName": "simulated",
        "MajorMinorRevision": "3",
    }
    server = {
        "comm": "tcp",
        "host": "127.0.0.1",
        "port": port,
        "ignore_missing_devices": False,
        "framer": "socket",
    }
    file = folder / "simulator.json"
    file.write_text(
        json.dumps(
            {
                "server_list": {"s": server | {"identity": identity}},
                "device_list": {"d": device},
            }
        )
    )
    command = (
        *(
            str(Path(sys.executable).with_name("pymodbus.simulator")),
            "--json_file",
            str(file),
        ),
        *(
            "--modbus_server",
            "s",
            "--modbus_device",
            "d",
            "--http_host",
            "127.0.0.1",
            "--http_port",
            str(http),
        ),
        *("--log_file", str(folder / "server.log")),
    )
    async with process(*command):
        yield port
