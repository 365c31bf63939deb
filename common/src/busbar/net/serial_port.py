"""Serial ports: how they are opened, their modem lines, what the kernel counts.

The only module that opens one. Needs the extra `serial`.
"""

import array
import asyncio
import errno
import fcntl
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from busbar.errors import BadRequest, LinkLost
from busbar.net.streams import ByteStream

# Source: linux, asm-generic/ioctls.h
TIOCGICOUNT = 0x545D
TIOCSBRK = 0x5427
TIOCCBRK = 0x5428
BREAK_LIMIT = 5.0  # s
PERMISSION = (
    "no permission; `sudo usermod -aG dialout $USER` and a new login, or a udev rule: "
    'SUBSYSTEM=="tty", ATTRS{idVendor}=="xxxx", MODE="0660", GROUP="dialout"'
)


class Pins(NamedTuple):
    """The modem lines of a port; None: not known (yet)."""

    dtr: bool | None
    rts: bool | None
    cts: bool | None
    dsr: bool | None
    ri: bool | None
    dcd: bool | None


class LineErrors(NamedTuple):
    """What the kernel has counted on a port since it was found."""

    frame: int
    overrun: int
    parity: int
    breaks: int
    buffer_overrun: int


class SerialStream(ByteStream):
    """An open serial port, or one behind an RFC 2217 server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str
    ) -> None:
        super().__init__(reader, writer, name)
        self._port: Any = writer.transport

    async def pins(self) -> Pins | None:
        """Return the modem lines, None where the port has none."""
        try:
            found = await self._port.get_modem_pins()
        except OSError as error:
            raise LinkLost(f"cannot read the modem lines: {error}") from error
        names = ("dtr", "rts", "cts", "dsr", "rng", "car")
        pins = Pins(*(getattr(found, name).to_bool() for name in names))
        # of a pty only what was wished is known, of a remote port nothing yet
        local = self._descriptor is not None
        return None if local and set(pins[2:]) == {None} else pins

    async def set_pins(self, **pins: bool) -> None:
        """Set DTR and RTS; raise BadRequest where the port has none."""
        if await self.pins() is None:
            raise BadRequest("the port has no modem lines")
        try:
            await self._port.set_modem_pins(**pins)
        except OSError as error:
            raise LinkLost(f"cannot set the modem lines: {error}") from error

    async def send_break(self, seconds: float) -> None:
        """Hold the line low for so long; raise BadRequest where that is impossible."""
        descriptor = self._descriptor
        if descriptor is None:
            raise BadRequest("a break cannot be sent through this port")
        try:
            fcntl.ioctl(descriptor, TIOCSBRK)
            try:
                await asyncio.sleep(min(seconds, BREAK_LIMIT))
            finally:
                fcntl.ioctl(descriptor, TIOCCBRK)
        except OSError as error:
            raise BadRequest(f"the port cannot send a break: {error}") from error

    def line_errors(self) -> LineErrors | None:
        """Return what the kernel has counted, None where it does not."""
        if self._descriptor is None:
            return None
        # struct serial_icounter_struct: cts dsr rng dcd rx tx frame overrun parity brk
        # buf_overrun reserved[9]. Source: linux/serial.h
        counts = array.array("i", [0] * 20)
        try:
            fcntl.ioctl(self._descriptor, TIOCGICOUNT, counts)
        except OSError:
            return None
        return LineErrors(*counts[6:11])

    @property
    def _descriptor(self) -> int | None:
        found: int | None = getattr(self._port, "_fileno", None)
        return found


async def open_serial(
    path: str,
    baudrate: int,
    name: str,
    *,
    bits: Literal[5, 6, 7, 8] = 8,
    parity: Literal["N", "E", "O", "M", "S"] = "N",
    stop: float = 1,  # 1, 1.5 or 2
    flow: Literal["none", "hardware", "software"] = "none",
    dtr: bool | None = None,  # at open; None: as the system does
    rts: bool | None = None,
    low_latency: bool = False,
    timeout: float = 5.0,  # s; with rfc2217://HOST:PORT as path
) -> SerialStream:
    """Open a serial port (needs the extra `serial`); raise LinkLost.

    A path `rfc2217://HOST:PORT` is a port behind a server of RFC 2217.
    """
    import serialx  # an extra: bridges without serial ports do not install it

    settings: dict[str, Any] = {
        "byte_size": bits,
        "parity": serialx.Parity(parity),
        "stopbits": serialx.StopBits(stop),
        "rtscts": flow == "hardware",
        "xonxoff": flow == "software",
    }
    for key, wanted in (("dtr_on_open", dtr), ("rts_on_open", rts)):
        if wanted is not None:
            settings[key] = serialx.PinState.convert(wanted)
    remote = path.startswith("rfc2217://")
    if low_latency and not remote and await _takes_low_latency(path):
        settings["low_latency"] = True
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await serialx.open_serial_connection(
                path, baudrate, **settings
            )
    except TimeoutError as error:
        raise LinkLost(f"{path} did not open within {timeout:g} s") from error
    except (OSError, serialx.SerialException) as error:
        why = await asyncio.to_thread(_why_not, path, error)
        raise LinkLost(f"cannot open {path}: {why}") from error
    return SerialStream(reader, writer, name)


async def _takes_low_latency(path: str) -> bool:
    """Return whether a port has the driver's own settings (a pty has none)."""
    return await asyncio.to_thread(_has_own_settings, path)


def _has_own_settings(path: str) -> bool:
    name = os.path.realpath(path).rpartition("/")[2]
    return Path(f"/sys/class/tty/{name}/device").exists()


def _why_not(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is None:
        return str(error)
    if number in (errno.EACCES, errno.EPERM):
        return f"{os.strerror(number)}: {PERMISSION}"
    if number == errno.EBUSY or number == errno.EAGAIN:
        holders = ", ".join(_holders(path)) or "another process"
        return f"{os.strerror(errno.EBUSY)}: {holders} has it open"
    return os.strerror(number)


def _holders(path: str) -> list[str]:
    """Return the processes that have a port open, as far as we may see them."""
    wanted = os.path.realpath(path)
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()) and _has_open(process, wanted):
            found.append(f"{_name_of(process)} (process {process.name})")
    return found


def _has_open(process: Path, wanted: str) -> bool:
    try:
        return any(_is(each, wanted) for each in (process / "fd").iterdir())
    except OSError:
        return False  # not ours to see, or gone


def _is(descriptor: Path, wanted: str) -> bool:
    try:
        return str(descriptor.readlink()) == wanted
    except OSError:
        return False


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
