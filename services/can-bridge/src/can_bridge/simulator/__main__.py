"""A vehicle behind a serial CAN adapter (slcan) on a pseudo terminal, with faults."""

import argparse
import asyncio
import contextlib
import os
import pty
import tempfile
import tty
from collections.abc import AsyncIterator
from pathlib import Path

from busbar.codecs import slcan
from busbar.codecs.can import Frame
from busbar.testing import simulation
from can_bridge.simulator.vehicle import Vehicle

TICK = 0.1  # s
CHUNK = 65536  # bytes
BITRATE = 500_000
_COMMANDS = (b"C", b"O", b"L", b"S", b"Y", b"V", b"N", b"F")


class Simulator:
    """One adapter with a vehicle behind it; entered = plugged in, left = gone."""

    def __init__(self, path: Path | None = None, *, quiet: bool = False) -> None:
        self.vehicle = Vehicle(self.send)
        self.vehicle.quiet = quiet
        self.open = False  # the channel, by the commands O and C
        self.lost = 0  # frames that the bridge did not read
        self.commands: list[str] = []
        self._wanted = path
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ends: tuple[int, int] | None = None
        self._buffer = b""
        self._out = bytearray()
        self._task: asyncio.Task[None] | None = None

    @property
    def path(self) -> Path:
        """The serial port; it stays the same when the adapter is plugged in again."""
        if self._wanted is not None:
            return self._wanted
        assert self._folder is not None
        return Path(self._folder.name) / "can0"

    @property
    def address(self) -> str:
        """The address for the configuration of a bridge."""
        return f"can::slcan::{self.path}::{BITRATE}"

    def plug(self) -> None:
        """Make the port."""
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = (master, slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        asyncio.get_running_loop().add_reader(master, self._readable)

    def unplug(self) -> None:
        """Remove it, as pulling the plug does."""
        if self._ends is None:
            return
        loop = asyncio.get_running_loop()
        master, slave = self._ends
        loop.remove_reader(master)
        loop.remove_writer(master)
        self.path.unlink(missing_ok=True)
        for end in (master, slave):
            os.close(end)
        self._ends = None
        self.open = False
        self._buffer = b""
        self._out = bytearray()

    def send(self, frame: Frame) -> None:
        """Send the bridge a frame; it is lost if the bridge does not read."""
        if not self.open:
            return
        if len(self._out) > CHUNK:
            self.lost += 1
            return
        self._write(slcan.encode(frame))

    async def live(self) -> None:
        """Let the vehicle send what it sends by itself."""
        while True:
            self.vehicle.tick()
            await asyncio.sleep(TICK)

    def _write(self, data: bytes) -> None:
        self._out += data
        self._flush()

    def _flush(self) -> None:
        if self._ends is None:
            return
        master, _ = self._ends
        loop = asyncio.get_running_loop()
        try:
            del self._out[: os.write(master, self._out)]
        except BlockingIOError:
            loop.add_writer(master, self._flush)
            return
        if self._out:
            loop.add_writer(master, self._flush)
        else:
            loop.remove_writer(master)

    def _readable(self) -> None:
        assert self._ends is not None
        data = self._buffer + os.read(self._ends[0], CHUNK)
        *lines, self._buffer = data.split(b"\r")
        for line in lines:
            frame = slcan.decode(line)
            if frame is None:
                self._take_command(line)
            else:
                self._take_frame(line[:1], frame)

    def _take_frame(self, letter: bytes, frame: Frame) -> None:
        if not self.open:
            self._write(b"\a")
            return
        self._write(b"z\r" if letter in b"trdb" else b"Z\r")
        self.vehicle.take(frame)

    def _take_command(self, line: bytes) -> None:
        self.commands.append(line.decode(errors="replace"))
        letter = line[:1]
        if letter in (b"O", b"L"):
            self.open = True
        elif letter == b"C":
            self.open = False
        self._write(b"\r" if letter in _COMMANDS else b"\a")

    async def __aenter__(self) -> "Simulator":
        if self._wanted is None:
            self._folder = tempfile.TemporaryDirectory(prefix="can-simulator-")
        self.plug()
        self._task = asyncio.create_task(self.live(), name="vehicle")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.unplug()
        if self._folder is not None:
            self._folder.cleanup()


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_simulated(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m can_bridge.simulator", description=__doc__
    )
    parser.add_argument(
        "--can-port",
        type=Path,
        help="path of the serial port to make (default: a new one)",
    )
    parser.add_argument("--quiet", action="store_true", help="the vehicle only answers")
    parser.add_argument(
        "--silent", action="store_true", help="the vehicle answers nothing"
    )
    return parser.parse_args()


@contextlib.asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, str]]:
    async with Simulator(arguments.can_port, quiet=arguments.quiet) as simulator:
        simulator.vehicle.silent = arguments.silent
        yield {"CAN_PORT": str(simulator.path)}


if __name__ == "__main__":
    main()
