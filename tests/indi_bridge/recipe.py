"""The bridge on Debian's indiserver with eleven simulators.

test_indiserver.py runs this in a network of its own.

The oracles are indi_getprop, indi_setprop and indi_eval, and a plain socket.
Source: docs/protocols/indi.md, 7.
"""

import asyncio
import base64
import hashlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar.codecs import indi
from busbar.contract.names import level
from busbar.testing.fakes import until
from indi_bridge.bridge import SERVICE
from tests.indi_bridge.stage import CAMERA, COORDINATES, FOCUSER, MOUNT, failure
from tests.running import Running, running

PORT = 7624
SIMULATORS = [
    "telescope",
    "ccd",
    "guide",
    "focus",
    "wheel",
    "dome",
    "weather",
    "rotator",
    "gps",
    "sqm",
    "lightpanel",
]
VECTORS, MEMBERS = 266, 655  # of indi-bin 1.9.9, all connected
LIMIT = 60.0  # s
OBSERVATORY = """
bridge: {{name: dome}}
servers:
  - name: pi
    address: {address}
    connect: ["*"]
    {more}
"""
_LINE = re.compile(r"([^.\n]+)\.([^.\n]+)\.([^=\n]+)=(.*)")


class Server:
    """One indiserver."""

    def __init__(self, folder: Path, port: int, *drivers: str) -> None:
        self.log = folder / f"{port}.log"
        self.fifo = folder / f"{port}.fifo"
        os.mkfifo(self.fifo)
        environment = {**os.environ, "HOME": str(folder)}
        with self.log.open("wb") as log:
            command = [
                "indiserver",
                "-v",
                "-p",
                str(port),
                "-m",
                "1000",
                "-u",
                f"/tmp/busbar-{port}",
                "-f",
                str(self.fifo),
                *drivers,
            ]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment
            )

    def driver(self, name: str) -> int:
        """Return the process id of a driver."""
        for each in Path("/proc").glob("[0-9]*"):
            try:
                command = (each / "cmdline").read_bytes()
                fields = (each / "stat").read_text().rpartition(") ")[2]
            except OSError:
                continue  # it has just ended
            if (
                command.split(b"\0")[0] == name.encode()
                and int(fields.split()[1]) == self.process.pid
            ):
                return int(each.name)
        raise LookupError(f"no driver {name} of process {self.process.pid}")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(
        tmp_path_factory.mktemp("home"),
        PORT,
        *(f"indi_simulator_{name}" for name in SIMULATORS),
    )
    yield started
    started.end()


def oracle(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [program, "-p", str(PORT), *arguments], capture_output=True, check=False
    )
    return done.stdout.decode("utf-8", "replace")


@asynccontextmanager
async def bridge(
    address: str = "indi::127.0.0.1", more: str = ""
) -> AsyncIterator[Running]:
    """The bridge, all devices connected and all defined."""
    async with running(SERVICE, OBSERVATORY.format(address=address, more=more)) as bus:
        yield bus


async def complete(bus: Running, vectors: int = VECTORS) -> None:
    done = lambda: (  # noqa: E731
        bus.good("pi").get("definitions_complete")
        and bus.good("pi").get("vectors") == vectors
    )
    await until(done, f"all {vectors} definitions", LIMIT)


def listed() -> dict[tuple[str, str, str], str]:
    """Return what indi_getprop lists: device, vector, member -> value."""
    return {
        (d, v, m): value
        for d, v, m, value in _LINE.findall(oracle("indi_getprop", "-t", "2"))
    }


def shown(bus: Running, device: str, vector: str, member: str) -> object:
    return bus.good(level(device))[level(vector)][level(member)]


def same(found: object, text: str) -> bool:
    if isinstance(found, bool):
        return found == (text == "On")
    if isinstance(found, float):
        return abs(found - indi.parse_number(text)) <= 1e-9 * max(1.0, abs(found))
    return isinstance(found, str) and found == text.strip()


async def test_every_vector_that_indi_getprop_lists_is_on_the_bus_and_equal(
    server: Server,
) -> None:
    async with bridge() as bus:
        await complete(bus)
        assert bus.good("pi")["members"] == MEMBERS
        assert bus.good("pi")["devices"] == len(SIMULATORS)
        told = await asyncio.to_thread(listed)
        assert len({key[:2] for key in told}) > 200
        differing: set[tuple[str, str, str]] = set()

        async def equal() -> bool:
            told = await asyncio.to_thread(listed)
            differing.clear()
            differing.update(
                key for key, text in told.items() if not same(shown(bus, *key), text)
            )
            return not {
                key
                for key in differing
                if key[1] not in (COORDINATES, "TIME_UTC", "TIME_LST")
            }

        await until(equal, "the same values", LIMIT)


async def test_a_goto_that_takes_the_place_of_another_ends_when_indi_eval_says_so(
    server: Server,
) -> None:
    async with bridge() as bus:
        await complete(bus)
        assert (await bus.call(MOUNT, "connect"))["ok"]  # it is connected
        ra = (bus.good(MOUNT)[COORDINATES]["RA"] + 0.2) % 24
        elsewhere = asyncio.ensure_future(
            bus.call(MOUNT, "goto", {"ra": ra, "dec": 40})
        )
        await bus.value(MOUNT, COORDINATES, lambda value: value["_state"] == "Busy")
        reply = await bus.call(MOUNT, "goto", {"ra": ra, "dec": 80})
        assert failure(await elsewhere).startswith(
            "cancelled: EQUATORIAL_EOD_COORD: superseded"
        )
        assert reply["ok"], reply
        state = '"Telescope Simulator.EQUATORIAL_EOD_COORD._STATE"==1'
        command = ["indi_eval", "-p", str(PORT), "-t", "5", "-w", state]
        checked = await asyncio.to_thread(subprocess.run, command, check=False)
        assert checked.returncode == 0
        assert abs(bus.good(MOUNT)[COORDINATES]["DEC"] - 80) < 0.01
        assert bus.events(MOUNT, "progress")


async def test_indi_setprop_is_an_event_and_a_value(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        arguments = "Focuser Simulator.ABS_FOCUS_POSITION.FOCUS_ABSOLUTE_POSITION=51000"
        await asyncio.to_thread(oracle, "indi_setprop", arguments)
        await until(
            lambda: bus.events(FOCUSER, "command"),
            "the command of another client",
            LIMIT,
        )
        await bus.value(
            FOCUSER,
            "ABS_FOCUS_POSITION",
            lambda value: value["FOCUS_ABSOLUTE_POSITION"] == 51000,
        )


async def blob_of(device: str, vector: str) -> asyncio.Future[bytes]:
    """Ask as a client of its own.

    Return the bytes of the next BLOB as the server sends them.
    """
    stream, writer = await asyncio.open_connection("127.0.0.1", PORT, limit=1 << 26)
    writer.write(
        (f"<getProperties version='1.7' device='{device}' name='{vector}'/>").encode()
    )
    writer.write(
        (
            f"<enableBLOB device='{device}' "
            f"name='{vector}'>Only</enableBLOB><pingRequest "
            f"uid='on'/>"
        ).encode()
    )
    await stream.readuntil(b"<pingReply")  # it has read what was before it

    async def receive() -> bytes:
        sent = await stream.readuntil(b"</oneBLOB>")
        writer.close()
        return base64.b64decode(re.search(rb"<oneBLOB[^>]*>([^<]*)<", sent)[1])  # type: ignore[index]

    return asyncio.create_task(receive())


async def test_an_exposure_is_byte_by_byte_what_the_server_sent(server: Server) -> None:
    async with bridge(more="blobs: {preview: jpeg}") as bus:
        await complete(bus)
        sent = await blob_of("CCD Simulator", "CCD1")
        reply = await bus.call(CAMERA, "expose", {"seconds": 0.5})
        assert reply["ok"], reply
        expected = await sent
        await until(
            lambda: bus.broker.payloads(f"busbar/dome/{CAMERA}/blob/CCD1_CCD1"),
            "the image",
            LIMIT,
        )
        assert bus.broker.payloads(f"busbar/dome/{CAMERA}/blob/CCD1_CCD1") == [expected]
        about = await bus.value(CAMERA, "CCD1_CCD1")
        assert about["sha256"] == hashlib.sha256(expected).hexdigest()
        assert (about["size"], about["fits"]["NAXIS1"]) == (len(expected), 1280)
        await until(
            lambda: bus.broker.payloads(f"busbar/dome/{CAMERA}/blob/CCD1_CCD1_preview"),
            "the preview",
            LIMIT,
        )
        prepared = {
            "seconds": 0.1,
            "type": "dark",
            "frame": [0, 0, 640, 480],
            "binning": 2,
            "gain": 80,
        }
        cards = (await bus.call(CAMERA, "expose", prepared))["result"]["about"]["fits"]
        assert cards["NAXIS1"] == 320
        assert cards["NAXIS2"] == 240
        assert cards["XBINNING"] == 2
        assert cards["GAIN"] == 80
        assert cards["FRAME"] == "Dark"


async def test_an_abort_and_what_is_out_of_range(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        running_ = asyncio.ensure_future(bus.call(CAMERA, "expose", {"seconds": 30}))
        await bus.value(CAMERA, "CCD_EXPOSURE", lambda value: value["_state"] == "Busy")
        assert (await bus.call(CAMERA, "abort"))["ok"]
        assert failure(await running_).startswith("cancelled: CCD_EXPOSURE: aborted")
        assert failure(await bus.call(CAMERA, "expose", {"seconds": 80000})).startswith(
            "out_of_range"
        )
        # its step of 1000 is a hint
        odd = {"FOCUS_ABSOLUTE_POSITION": 50123.5}
        reply = await bus.set(FOCUSER, "ABS_FOCUS_POSITION", odd)
        assert reply["result"]["FOCUS_ABSOLUTE_POSITION"] == 50123.5
        assert failure(await bus.set(CAMERA, "NOPE", {"x": 1})).startswith("unknown")
        assert failure(await bus.set(CAMERA, "CCD_EXPOSURE", {"NOPE": 1})).startswith(
            "bad_request"
        )


async def test_a_parked_mount_refuses_and_the_outcome_says_so(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        assert (await bus.call(MOUNT, "park"))["ok"]
        there = {"ra": 5.5, "dec": -5}
        for command, arguments in (
            ("goto", there),
            ("goto", {**there, "then": "slew"}),
            ("goto", {**there, "then": "sync"}),
            ("track", {"on": True}),
            ("move", {"direction": "north", "seconds": 0.5}),
        ):
            reply = await bus.call(MOUNT, command, arguments)
            assert failure(reply).startswith("device: "), (command, arguments)
            assert "unpark" in reply["error"]["message"].lower(), (command, arguments)
        assert (await bus.call(MOUNT, "unpark"))["ok"]
        assert (await bus.call(MOUNT, "goto", {**there, "then": "sync"}))["ok"]
        assert abs(bus.good(MOUNT)[COORDINATES]["RA"] - 5.5) < 0.01


async def test_track_move_and_guide(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        assert (await bus.call(MOUNT, "track", {"on": True}))["ok"]
        before = bus.good(MOUNT)[COORDINATES]["DEC"]
        # the fastest of its four rates
        move = {"direction": "south", "seconds": 1.0, "rate": "4x"}
        reply = await bus.call(MOUNT, "move", move)
        assert reply["ok"], reply
        await bus.value(MOUNT, COORDINATES, lambda value: value["DEC"] < before - 0.1)
        await bus.value(
            MOUNT, "TELESCOPE_MOTION_NS", lambda value: not value["MOTION_SOUTH"]
        )
        for direction in ("north", "south", "west", "east"):
            pulse = {"direction": direction, "ms": 300}
            reply = await bus.call(MOUNT, "guide", pulse)
            assert reply["ok"], reply
            assert reply["took"] >= 0.25


async def test_a_video_has_started_when_it_is_busy(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        reply = await bus.set(CAMERA, "CCD_VIDEO_STREAM", {"STREAM_ON": True})
        assert reply["ok"], reply
        assert reply["result"]["_state"] == "Busy"
        reply = await bus.set(CAMERA, "CCD_VIDEO_STREAM", {"STREAM_ON": False})
        assert reply["ok"], reply


async def test_expose_gives_its_own_image_and_no_older_one(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        for _ in range(3):
            first = {"CCD_EXPOSURE_VALUE": 0.3}
            assert (await bus.set(CAMERA, "CCD_EXPOSURE", first))["ok"]
            reply = await bus.call(CAMERA, "expose", {"seconds": 1.5})
            assert reply["result"]["about"]["fits"]["EXPTIME"] == 1.5
        foreign = "CCD Simulator.CCD_EXPOSURE.CCD_EXPOSURE_VALUE=1"
        await asyncio.to_thread(oracle, "indi_setprop", foreign)
        await bus.value(CAMERA, "CCD_EXPOSURE", lambda value: value["_state"] == "Busy")
        reply = await bus.call(CAMERA, "expose", {"seconds": 2})
        assert failure(reply).startswith("device: CCD_EXPOSURE: an exposure is running")
        await bus.value(CAMERA, "CCD_EXPOSURE", lambda value: value["_state"] == "Ok")
        reply = await bus.call(CAMERA, "expose", {"seconds": 0.5, "count": 2})
        images = reply["result"]
        assert [each["about"]["fits"]["EXPTIME"] for each in images] == [0.5, 0.5]
        assert images[0]["about"]["time"] < images[1]["about"]["time"]


async def test_an_image_that_the_camera_keeps_is_named(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        keep = {"seconds": 0.3, "upload_mode": "local"}
        reply = await bus.call(CAMERA, "expose", keep)
        assert reply["ok"], reply
        assert reply["result"]["blob"] is None
        assert reply["result"]["uploaded"].endswith(".fits")
        reply = await bus.call(CAMERA, "expose", {**keep, "upload_mode": "client"})
        assert reply["result"]["blob"] == "CCD1_CCD1"


async def test_cooling_ends_at_its_set_point_or_says_that_it_has_begun(
    server: Server,
) -> None:
    async with bridge() as bus:
        await complete(bus)
        start = bus.good(CAMERA)["CCD_TEMPERATURE"]["CCD_TEMPERATURE_VALUE"]
        begin = {"temperature": start - 30, "wait": False}
        reply = await bus.call(CAMERA, "cool", begin)
        assert reply["ok"], reply
        assert reply["result"]["_state"] == "Busy"
        late = {"CCD_TEMPERATURE_VALUE": start - 31, "_timeout": 0.5}
        reply = await bus.set(CAMERA, "CCD_TEMPERATURE", late)
        assert failure(reply) == "timeout: CCD_TEMPERATURE: still Busy after 0.5 s"
        reply = await bus.call(CAMERA, "cool", {"temperature": start - 3})
        assert reply["ok"], reply
        value = bus.good(CAMERA)["CCD_TEMPERATURE"]["CCD_TEMPERATURE_VALUE"]
        assert abs(value - (start - 3)) < 0.6


async def test_drivers_are_listed_stopped_and_started_by_the_fifo(
    server: Server,
) -> None:
    async with bridge(more=f"drivers: {{fifo: {server.fifo}}}") as bus:
        await complete(bus)
        listed = (await bus.call("pi", "drivers"))["result"]
        gps = {"driver": "indi_simulator_gps", "devices": ["GPS Simulator"]}
        assert gps in listed
        assert len(listed) == len(SIMULATORS)
        reply = await bus.call("pi", "stop_driver", "indi_simulator_gps")
        assert reply["ok"], reply
        assert gps not in (await bus.call("pi", "drivers"))["result"]
        await bus.status("GPS_Simulator", "offline")
        reply = await bus.call("pi", "start_driver", "indi_simulator_gps")
        assert reply["ok"], reply
        await bus.status("GPS_Simulator", "online")
        reply = await bus.call("pi", "restart_driver", "indi_simulator_gps")
        assert reply["ok"], reply
        reply = await bus.call("pi", "stop_driver", "indi_nosuch")
        assert failure(reply).startswith("device: 'indi_nosuch' does not run")
        reply = await bus.call("pi", "start_driver", "../bin/sh")
        assert failure(reply).startswith("out_of_range"), reply
        reply = await bus.call("pi", "start_driver", "sh")
        assert failure(reply).startswith("forbidden"), reply
    async with bridge() as bus:
        reply = await bus.call("pi", "stop_driver", "indi_simulator_gps")
        assert failure(reply).startswith("forbidden: no `drivers:` are configured")


async def test_members_and_short_forms(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        for path, payload in (
            ("ABS_FOCUS_POSITION", "51000"),
            ("ABS_FOCUS_POSITION/FOCUS_ABSOLUTE_POSITION", "50500"),
            ("FOCUS_MOTION", "FOCUS_OUTWARD"),
            ("FOCUS_MOTION/FOCUS_INWARD", "true"),
        ):
            reply = await bus.set(FOCUSER, path, payload)
            assert reply["ok"], reply
        position = bus.good(FOCUSER)["ABS_FOCUS_POSITION"]
        assert position["FOCUS_ABSOLUTE_POSITION"] == 50500
        assert bus.good(FOCUSER)["FOCUS_MOTION"]["FOCUS_INWARD"] is True
        reply = await bus.set(FOCUSER, "FOCUS_MOTION", "SIDEWAYS")
        assert failure(reply).startswith("out_of_range"), reply


async def test_latin_1_of_another_client_is_survived(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        with socket.create_connection(("127.0.0.1", PORT)) as raw:
            raw.sendall(
                b"<getProperties version='1.7' device='CCD Simulator'/>"
                b"<newTextVector device='CCD Simulator' name='ACTIVE_DEVICES'>"
                b"<oneText name='ACTIVE_TELESCOPE'>T\xe9l\xe9scope</oneText>"
                b"</newTextVector>"
            )
            await bus.value(
                CAMERA,
                "ACTIVE_DEVICES",
                lambda value: value["ACTIVE_TELESCOPE"] == "Téléscope",
            )
        assert bus.retained("pi", "status")["state"] == "online"
    async with bridge() as bus:  # the definitions have it, too
        await complete(bus)
        assert bus.good(CAMERA)["ACTIVE_DEVICES"]["ACTIVE_TELESCOPE"] == "Téléscope"
        reply = await bus.set(
            CAMERA, "ACTIVE_DEVICES", {"ACTIVE_TELESCOPE": "Telescope Simulator"}
        )
        assert reply["ok"], reply


async def test_over_the_unix_socket(server: Server) -> None:
    async with bridge(f"indi::@/tmp/busbar-{PORT}", "blobs: {mode: never}") as bus:
        await complete(bus)
        assert (await bus.set(FOCUSER, "FOCUS_MOTION", {"FOCUS_OUTWARD": True}))["ok"]


async def test_a_chained_server(server: Server, tmp_path: Path) -> None:
    chained = Server(tmp_path, PORT + 1, f"CCD Simulator@127.0.0.1:{PORT}")
    try:
        async with bridge(f"indi::127.0.0.1:{PORT + 1}") as bus:
            # each comes when the server has read it from the other one
            wanted = {"CCD1", "CCD_EXPOSURE"}
            await until(
                lambda: wanted <= bus.good(CAMERA).keys(),
                "the camera of the other server",
                LIMIT,
            )
            short = {"CCD_EXPOSURE_VALUE": 0.1}
            images = f"busbar/dome/{CAMERA}/blob/CCD1_CCD1"
            # nobody tells when the other server has been asked for images
            async with asyncio.timeout(LIMIT):
                while not bus.broker.payloads(images):
                    assert (await bus.set(CAMERA, "CCD_EXPOSURE", short))["ok"]
            reply = await bus.call(CAMERA, "expose", {"seconds": 0.1})
            assert reply["ok"], reply
            assert reply["result"]["about"]["format"] == ".fits"
    finally:
        chained.end()


async def test_a_driver_and_a_server_that_are_killed(server: Server) -> None:
    async with bridge() as bus:
        await complete(bus)
        os.kill(server.driver("indi_simulator_focus"), signal.SIGKILL)
        statuses = lambda: bus.broker.payloads(f"busbar/dome/{FOCUSER}/status")  # noqa: E731
        await until(
            lambda: any(b'"offline"' in each for each in statuses()[1:]),
            "offline",
            LIMIT,
        )
        await bus.status(FOCUSER, "online")
        # it came up disconnected
        await bus.value(FOCUSER, "CONNECTION", lambda value: value["CONNECT"])
        await bus.value(FOCUSER, "ABS_FOCUS_POSITION")
        server.end()
        for device in ("pi", MOUNT, CAMERA):
            await bus.status(device, "offline")
        assert failure(await bus.call(MOUNT, "park")).startswith("offline")
