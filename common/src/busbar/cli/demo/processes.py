"""Programs that the demo starts, Mosquitto among them: their output and their end.

No temporary file has a name: the configuration is an unlinked file, logs come through
pipes. So nothing stays behind, whatever ends the demo.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

LEASH = Path(__file__).with_name("leash.py")
LINES_KEPT = 200  # of a program's output
TAIL = 20  # lines shown when it fails
CHUNK = 64 * 1024  # bytes; a longer line is cut
STOP_PATIENCE = 8.0  # s; a bridge takes at most 5
PORT = 1883  # of MQTT
# below those of outgoing connections: a client that retries would meet itself one day
PORTS = range(10_000, 32_768)
NO_MOSQUITTO = (
    "Mosquitto is not installed. Debian, Ubuntu and Raspberry Pi OS have it:\n"
    "    sudo apt-get install mosquitto mosquitto-clients"
)


class Failed(Exception):
    """The demo cannot go on; the message is for the person who started it."""


class Child:
    """One program, restarted at will; it never outlives us."""

    def __init__(
        self,
        name: str,
        *command: str,
        variables: Mapping[str, str] | None = None,
        stdin: IO[str] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = {**os.environ, **(variables or {})}
        self._stdin = stdin
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._printed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    async def start(self, *extra: str) -> None:
        """Start it again, with more arguments than it was made with."""
        await self.stop()
        self._lines.clear()
        leash = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()))
        self._process = await asyncio.create_subprocess_exec(
            *leash,
            *self._command,
            *extra,
            stdin=self._stdin or asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            # Ctrl-C in a terminal is for us: we end them, in order
            start_new_session=True,
        )
        self._reading = asyncio.create_task(
            self._read(self._process.stdout), name=f"log of {self.name}"
        )

    async def stop(self) -> None:
        """End it with SIGTERM, then SIGKILL; nothing to do if it does not run."""
        if self._process is None or self._reading is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE):
                await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            # itself, and what it may have started
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._process = None
        self._reading = None

    async def ended(self) -> None:
        """Return when it has ended and its last words are read."""
        if self._process is not None and self._reading is not None:
            await self._process.wait()
            await asyncio.wait([self._reading], timeout=1)

    async def mind(self) -> None:
        """Raise Failed when it ends."""
        await self.ended()
        raise self.failed(f"{self.name} has ended unexpectedly")

    async def says(self, prefix: str) -> str:
        """Return its first line that starts so; raise Failed if it ends without one."""
        while True:
            for line in self._lines:
                if line.startswith(prefix):
                    return line
            if self._reading is None or self._reading.done():
                raise self.failed(f"{self.name} has ended while it started")
            await self._printed.wait()

    def failed(self, why: str) -> Failed:
        """Return the error with what it said last."""
        return Failed("\n".join([why, *self.tail()]))

    def tail(self) -> list[str]:
        """Return its last lines under a heading."""
        lines = list(self._lines)[-TAIL:] or ["(it said nothing)"]
        indented = [f"    {line}" for line in lines]
        return [f"the last lines of {self.name}:", *indented]

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        rest = b""
        while chunk := await stream.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-CHUNK:]
            self._lines.extend(line.decode(errors="replace") for line in lines)
            self._wake()
        if rest:
            self._lines.append(rest.decode(errors="replace"))
        asyncio.get_running_loop().call_soon(self._wake)  # once this task is done

    def _wake(self) -> None:
        """Wake whoever waits for a line."""
        self._printed.set()
        self._printed = asyncio.Event()


@contextlib.asynccontextmanager
async def running(children: Sequence[Child]) -> AsyncIterator[None]:
    """Run programs: all are started when entered, all ended when left."""
    try:
        for child in children:
            await child.start()
        yield
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def first(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until the first one ends, by itself or with an error, which is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


@contextlib.asynccontextmanager
async def broker(port: int) -> AsyncIterator[Child]:
    """Run a private Mosquitto on 127.0.0.1; entered, it accepts connections.

    Raise Failed.
    """
    path = os.environ.get("PATH", os.defpath)
    places = (path, "/usr/sbin", "/usr/local/sbin")
    program = shutil.which("mosquitto", path=os.pathsep.join(places))
    if program is None:
        raise Failed(NO_MOSQUITTO)
    with TemporaryFile("w+") as configuration:
        configuration.write(_configuration(port))
        configuration.seek(0)
        child = Child("the broker", program, "-c", "/dev/stdin", stdin=configuration)
        async with running([child]):
            await first(_wait_for_listener(port), child.mind())
            yield child


def _configuration(port: int) -> str:
    lines = [loopback(), f"listener {port} 127.0.0.1"]
    if os.geteuid() == 0:
        # a change of the user would end what the kernel does for leash.py
        lines.append("user root")
    return "\n".join(lines) + "\n"


def loopback() -> str:
    """Return mosquitto/loopback.conf; a wheel has a copy beside this file."""
    path = Path(__file__).with_name("loopback.conf")
    if not path.exists():
        path = Path(__file__).parents[5] / "mosquitto" / "loopback.conf"
    return path.read_text()


async def _wait_for_listener(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def choose_port(wanted: int | None) -> int:
    """Return the wanted port, else 1883, else any free one.

    Raise Failed when the wanted one is taken.
    """
    if wanted is not None:
        if not _is_free(wanted):
            raise Failed(
                f"port {wanted} is in use or not allowed; without --port the demo "
                f"finds a free one"
            )
        return wanted
    port = PORT
    while not _is_free(port):
        port = random.choice(PORTS)
    return port


def _is_free(port: int) -> bool:
    if not _can_bind(socket.AF_INET, "127.0.0.1", port):
        return False
    # ::1 as well: `mosquitto_sub` asks for localhost, and would find there whoever
    # serves it.
    has_ipv6 = _can_bind(socket.AF_INET6, "::1", 0)
    return not has_ipv6 or _can_bind(socket.AF_INET6, "::1", port)


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return False
    return True
