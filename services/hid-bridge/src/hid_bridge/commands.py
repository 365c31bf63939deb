"""Commands of a device: reports sent and asked for as bytes, and what it is."""

import asyncio
import time
from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import NoArguments, OutOfRange, Turn, command
from busbar.codecs.hid import REPORT_LIMIT, Kind, ReportDescriptor
from hid_bridge.backends.channel import HidChannel
from hid_bridge.settings import Hex, Number

UNREAD_LIMIT = 64  # reports that wait for a `read`; as many as the kernel keeps
FRESH = 2.0  # s; a report that waited longer is no answer to a `read`
LONGEST = 3600.0  # s of a `read`


class Bytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A report, its bytes in hex: `01 FF`.

    Without `report` its first byte is its number, 0 where reports are not numbered.
    """

    hex: Hex
    report: Number | None = None


class Exchange(Bytes, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `query`: what is written, and how long to wait (s)."""

    seconds: Annotated[float, Meta(ge=0, le=60)] = 1.0


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `read`: how long to wait (s)."""

    seconds: Annotated[float, Meta(ge=0, le=LONGEST)] = 1.0


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `get_feature` and `get_input`.

    `size` (bytes without the number) where the descriptor has no such report.
    """

    report: Number = 0
    size: Annotated[int, Meta(ge=1, le=REPORT_LIMIT - 1)] | None = None


class Report(msgspec.Struct, frozen=True):
    """A report: its number (0: not numbered), its bytes, when it came (Unix s).

    The bytes begin with the number where reports are numbered.
    """

    report: int
    data: bytes
    time: float


class ReportInfo(msgspec.Struct, frozen=True):
    """A report that the descriptor has: bytes without its number."""

    kind: Kind
    report: int
    size: int


class DeviceInfo(msgspec.Struct, frozen=True):
    """What a device is."""

    vendor: str
    product: str
    name: str
    manufacturer: str | None
    serial: str | None
    port: str | None
    interface: int | None
    path: str
    pages: list[str]
    reports: list[ReportInfo]
    descriptor: bytes
    problems: list[str]  # what in the descriptor makes no sense


class Inbox:
    """Input reports that nobody has read yet."""

    def __init__(self) -> None:
        self._unread: deque[Report] = deque(maxlen=UNREAD_LIMIT)
        self._waiting: deque[asyncio.Future[Report]] = deque()

    def put(self, report: Report) -> None:
        """Give a report to whoever waits longest, else keep it."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(report)
                return
        self._unread.append(report)

    def clear(self) -> None:
        """Forget what came before something was written."""
        self._unread.clear()

    async def get(self, seconds: float) -> Report | None:
        """Return the oldest fresh report, or the next; None: there was none in time."""
        while self._unread:
            report = self._unread.popleft()
            if time.time() - report.time <= FRESH:
                return report
        waiting: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError:
            return None
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)


class DeviceCommands:
    """What can be asked of a device."""

    def __init__(self, channel: HidChannel, descriptor: ReportDescriptor) -> None:
        self._channel = channel
        self._descriptor = descriptor
        self.inbox = Inbox()

    @command(timeout=60.0, holds="exchange")
    async def write(self, device: str, arguments: Bytes, turn: Turn) -> None:
        """Send an output report."""
        report = self.report("output", arguments)
        self.inbox.clear()
        await self._channel.write(report)

    @command(timeout=LONGEST + 10, holds="exchange")
    async def read(self, device: str, arguments: Wait, turn: Turn) -> Report | None:
        """Return the next input report, null if none comes in time."""
        turn.release()
        return await self.inbox.get(arguments.seconds)

    @command(timeout=120.0)
    async def query(
        self, device: str, arguments: Exchange, turn: Turn
    ) -> Report | None:
        """Send an output report; return the next input report, null if none comes."""
        report = self.report("output", arguments)
        self.inbox.clear()
        await self._channel.write(report)
        return await self.inbox.get(arguments.seconds)

    @command(timeout=60.0)
    async def get_feature(self, device: str, arguments: Ask, turn: Turn) -> Report:
        """Ask for a feature report."""
        return await self._get("feature", arguments)

    @command(timeout=60.0, holds="exchange")
    async def send_feature(self, device: str, arguments: Bytes, turn: Turn) -> None:
        """Send a feature report."""
        await self._channel.send_feature(self.report("feature", arguments))

    @command(timeout=60.0)
    async def get_input(self, device: str, arguments: Ask, turn: Turn) -> Report:
        """Ask for an input report instead of waiting for it."""
        return await self._get("input", arguments)

    @command(holds="exchange")
    async def info(self, device: str, arguments: NoArguments, turn: Turn) -> DeviceInfo:
        """Say what the device is: its numbers, names, reports, descriptor."""
        node = self._channel.node
        return DeviceInfo(
            vendor=f"{node.vendor:04x}",
            product=f"{node.product:04x}",
            name=node.name,
            manufacturer=node.manufacturer,
            serial=node.serial or None,
            port=node.port or None,
            interface=node.interface,
            path=node.path,
            pages=[f"{each:#04x}" for each in node.pages],
            reports=self._reports(),
            descriptor=node.descriptor,
            problems=list(self._descriptor.problems[:20]),
        )

    def _reports(self) -> list[ReportInfo]:
        known = self._descriptor
        return [
            ReportInfo(kind, number, known.length(kind, number) or 0)
            for kind, number in sorted(known.sizes)
        ]

    async def _get(self, kind: str, arguments: Ask) -> Report:
        assert kind in ("input", "feature")
        asked: Kind = "input" if kind == "input" else "feature"
        size = arguments.size or self._size(asked, arguments.report)
        data = await self._channel.get_report(
            "input" if asked == "input" else "feature", arguments.report, size
        )
        start = 0 if self._descriptor.numbered else 1
        return Report(arguments.report, data[start:], time.time())

    def _size(self, kind: Kind, number: int) -> int:
        size = self._descriptor.length(kind, number)
        if size:
            return size
        known = self._descriptor.numbers(kind)
        raise OutOfRange(
            f"the descriptor has no {kind} report {number} (it has {known}); say `size`"
        )

    def report(self, kind: Kind, arguments: Bytes) -> bytes:
        """Return a report with its number, as long as the descriptor says."""
        data = bytes.fromhex(arguments.hex)
        if arguments.report is not None:
            data = bytes([arguments.report]) + data
        size = self._descriptor.length(kind, data[0])
        if size is None:
            if self._descriptor.numbers(kind):
                known = self._descriptor.numbers(kind)
                raise OutOfRange(
                    f"there is no {kind} report {data[0]}; there are {known}"
                )
            size = REPORT_LIMIT - 1
        elif size < REPORT_LIMIT:
            data = data.ljust(1 + size, b"\0")
        if len(data) > 1 + size:
            raise OutOfRange(
                f"{kind} report {data[0]} has {size} bytes after its number, not "
                f"{len(data) - 1}"
            )
        return data
