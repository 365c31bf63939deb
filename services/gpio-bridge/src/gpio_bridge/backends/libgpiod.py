"""Chip of the kernel, through libgpiod 2.

It is a character device with version 2 of the interface (Linux 5.10).

Source: docs/protocols/gpio.md, 4
"""

import asyncio
import errno
import grp
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import gpiod
from gpiod.line import Bias, Clock, Direction, Drive, Value
from gpiod.line import Edge as EdgeDetection

from busbar.bridge.errors import DeviceRefused, LinkLost, UnknownTarget
from gpio_bridge.chip import Edge, LineInfo, LineSettings, NoEdges, OnEdges

CONSUMER = "busbar"
# kept by the kernel for one line; it caps a larger request at that.
# Source: docs/protocols/gpio.md, 4.2
EVENTS = 1024
# labels of the chips that have the 40-pin header
HEADERS = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
DEV = Path("/dev")
LISTED = 12  # names of lines in an error text, at most

_DIRECTIONS = {"as_is": Direction.AS_IS, "in": Direction.INPUT, "out": Direction.OUTPUT}
_PULLS = {
    "as_is": Bias.AS_IS,
    "off": Bias.DISABLED,
    "up": Bias.PULL_UP,
    "down": Bias.PULL_DOWN,
}
_DRIVES = {
    "push_pull": Drive.PUSH_PULL,
    "open_drain": Drive.OPEN_DRAIN,
    "open_source": Drive.OPEN_SOURCE,
}
_PULL_NAMES: Mapping[Any, Literal["off", "up", "down"]] = {
    Bias.DISABLED: "off",
    Bias.PULL_UP: "up",
    Bias.PULL_DOWN: "down",
}
_DRIVE_NAMES: Mapping[Any, Literal["open_drain", "open_source"]] = {
    Drive.OPEN_DRAIN: "open_drain",
    Drive.OPEN_SOURCE: "open_source",
}
_NO_INTERRUPT = (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSYS)
# gpiod: EINVAL, EOPNOTSUPP have classes of their own
_Failures = (OSError, ValueError, NotImplementedError)


def supported(release: str | None = None) -> bool:
    """Return whether this kernel is new enough: 5.10."""
    numbers = re.match(r"(\d+)\.(\d+)", release or platform.release())
    if numbers is None:
        return True
    version = (int(numbers[1]), int(numbers[2]))
    return version >= (5, 10)


@dataclass(frozen=True)
class Candidate:
    """A character device; its label is None if we may not open it."""

    path: Path
    label: str | None
    count: int = 0

    def __str__(self) -> str:
        label = self.label or "no permission"
        return f"{self.path.name} ({label}, {self.count} lines)"


def candidates(folder: Path = DEV) -> Iterator[Candidate]:
    """Return the chips of this machine, each once: some have a second name."""
    for path in sorted({each.resolve() for each in folder.glob("gpiochip*")}):
        try:
            with gpiod.Chip(str(path)) as chip:
                about = chip.get_info()
                yield Candidate(path, about.label, about.num_lines)
        except _Failures:
            yield Candidate(path, None)


def find(wanted: str | int, folder: Path = DEV) -> Path:
    """Return the device of a chip given by label, path, name or number.

    `auto`: the one with the Pi's header. Numbers change between kernels; labels do not.
    Raise LinkLost. Source: docs/protocols/gpio.md, 3
    """
    if isinstance(wanted, int) or wanted.isdigit():
        return folder / f"gpiochip{wanted}"
    if wanted.startswith(("/", "gpiochip")):
        return folder / wanted
    there = list(candidates(folder))
    labels = HEADERS if wanted == "auto" else (wanted,)
    found = [each.path for each in there if each.label in labels]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(str, there)) or (
        "none: this kernel has no GPIO character devices, or no driver for them"
    )
    if found:
        raise LinkLost(
            f"several chips have the label {wanted!r}; give the path of one; there "
            f"are: {listed}"
        )
    raise LinkLost(f"{_not_found(wanted, there)}; there are: {listed}")


def _not_found(wanted: str, there: Iterable[Candidate]) -> str:
    for each in there:
        if each.label is None:
            return _permission(each.path)
    what = f"no chip {wanted!r}"
    if wanted == "auto":
        what = "this is no Raspberry Pi that is known"
    return f"{what}; give the label or the path of a chip"


class KernelChip:
    """One open chip."""

    def __init__(self, path: Path) -> None:
        self.on_broken: Callable[[LinkLost], None] = lambda error: None
        try:
            self._chip = gpiod.Chip(str(path))
            about = self._chip.get_info()
        except _Failures as error:
            raise LinkLost(_unopened(path, error)) from error
        self.name = about.name
        self.label = about.label
        self.count = about.num_lines
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._requests: set[KernelRequest] = set()

    def info(self, offset: int) -> LineInfo:
        try:
            return _info(self._chip.get_line_info(offset))
        except _Failures as error:
            raise self.explain(error, [offset]) from error

    def offset(self, name: str) -> int:
        try:
            return self._chip.line_offset_from_id(name)
        except _Failures as error:
            listed = self._listed_names()
            raise UnknownTarget(
                f"no line {name!r} on {self.label}; there are: {listed}"
            ) from error

    def _listed_names(self) -> str:
        infos = map(self._chip.get_line_info, range(self.count))
        known = [about.name for about in infos if about.name]
        if not known:
            return "no names"
        if len(known) > LISTED:
            known[LISTED:] = ["..."]
        return ", ".join(known)

    async def request(
        self, lines: Mapping[int, LineSettings], on_edges: OnEdges | None = None
    ) -> "KernelRequest":
        try:
            taken = self._chip.request_lines(
                _config(lines), consumer=CONSUMER, event_buffer_size=EVENTS
            )
        except _Failures as error:
            edges = any(each.edges for each in lines.values())
            if edges and _number(error) in _NO_INTERRUPT:
                raise NoEdges(str(error)) from error
            raise self.explain(error, lines) from error
        request = KernelRequest(self, taken, on_edges)
        self._requests.add(request)
        return request

    def watch(self, on_change: Callable[[LineInfo], None]) -> None:
        for offset in range(self.count):
            self._chip.watch_line_info(offset)

        def read() -> None:
            try:
                on_change(_info(self._chip.read_info_event().line_info))
            except OSError as error:
                self.fail(error)

        self._loop.add_reader(self._chip.fd, read)

    async def close(self) -> None:
        for request in list(self._requests):
            await request.release()
        if self._chip:
            self._loop.remove_reader(self._chip.fd)
            self._chip.close()

    def fail(self, error: OSError) -> None:
        """End the chip: the device has gone, as an expander that was unplugged."""
        self._loop.remove_reader(self._chip.fd)
        reason = error.strerror or error
        self.on_broken(LinkLost(f"{self._path}: {reason}"))

    def forget(self, request: "KernelRequest") -> None:
        self._requests.discard(request)

    def explain(self, error: Exception, offsets: Iterable[int]) -> DeviceRefused:
        """Return what an error of the kernel means for people."""
        number = _number(error)
        for offset in offsets:
            if offset >= self.count:
                return DeviceRefused(
                    f"{self.label} has no line {offset}; allowed: 0 to {self.count - 1}"
                )
            if number == errno.EBUSY:
                about = _info(self._chip.get_line_info(offset))
                if about.used:
                    return DeviceRefused(busy(about), errno=number)
        which = ", ".join(map(str, offsets))
        text = f"line {which} of {self.label}: the kernel says: {error}"
        if number in (errno.EACCES, errno.EPERM):
            text = _permission(self._path)
        return DeviceRefused(text, errno=number)


class KernelRequest:
    """Lines that are ours."""

    def __init__(
        self, chip: KernelChip, taken: gpiod.LineRequest, on_edges: OnEdges | None
    ) -> None:
        self._chip = chip
        self._taken = taken
        self._on_edges = on_edges
        self._loop = asyncio.get_running_loop()
        if on_edges is not None:
            self._loop.add_reader(taken.fd, self._read)

    async def read(self, offset: int) -> bool:
        try:
            return bool(self._taken.get_value(offset))
        except _Failures as error:
            raise self._chip.explain(error, [offset]) from error

    async def write(self, offset: int, value: bool) -> None:
        try:
            self._taken.set_value(offset, _value(value))
        except _Failures as error:
            raise self._chip.explain(error, [offset]) from error

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        try:
            self._taken.reconfigure_lines(_config(lines))
        except _Failures as error:
            raise self._chip.explain(error, lines) from error

    async def release(self) -> None:
        if self._taken:
            self._loop.remove_reader(self._taken.fd)
            self._taken.release()
        self._chip.forget(self)

    def _read(self) -> None:
        assert self._on_edges is not None
        try:
            events = self._taken.read_edge_events()
        except OSError as error:
            self._loop.remove_reader(self._taken.fd)
            self._chip.fail(error)
            return
        rising = gpiod.EdgeEvent.Type.RISING_EDGE
        edges = []
        for event in events:
            value = event.event_type is rising
            seq = event.line_seqno
            edges.append(Edge(event.line_offset, value, event.timestamp_ns, seq))
        self._on_edges(edges)


def settings(about: LineSettings) -> gpiod.LineSettings:
    """Return the settings as libgpiod has them."""
    bias = _PULLS[about.pull]
    drive = _DRIVES[about.drive]
    # the kernel takes neither pull nor drive without a direction
    if about.direction == "as_is":
        bias = Bias.AS_IS
    if about.direction != "out":
        drive = Drive.PUSH_PULL
    return gpiod.LineSettings(
        direction=_DIRECTIONS[about.direction],
        edge_detection=EdgeDetection.BOTH if about.edges else EdgeDetection.NONE,
        bias=bias,
        drive=drive,
        active_low=about.active_low,
        debounce_period=timedelta(seconds=about.debounce),
        event_clock=Clock.MONOTONIC,
        output_value=_value(about.value),
    )


def _config(lines: Mapping[int, LineSettings]) -> dict[Any, gpiod.LineSettings | None]:
    return {offset: settings(about) for offset, about in lines.items()}


def _value(value: bool) -> Value:
    return Value.ACTIVE if value else Value.INACTIVE


def _info(about: gpiod.LineInfo) -> LineInfo:
    return LineInfo(
        about.offset,
        about.name or "",
        about.used,
        about.consumer or "",
        "out" if about.direction is Direction.OUTPUT else "in",
        _PULL_NAMES.get(about.bias, "unknown"),
        _DRIVE_NAMES.get(about.drive, "push_pull"),
        about.active_low,
    )


def busy(about: LineInfo) -> str:
    """Return the text of an error: who holds a line."""
    holder = about.consumer or "the kernel"
    return f"line {about.offset} is busy: {holder!r} holds it"


def _number(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, NotImplementedError):
        return errno.EOPNOTSUPP
    return errno.EINVAL


def _unopened(path: Path, error: Exception) -> str:
    match _number(error):
        case errno.ENOENT:
            listed = ", ".join(map(str, candidates(path.parent))) or "none"
            return f"there is no chip {path}; there are: {listed}"
        case errno.EACCES | errno.EPERM:
            return _permission(path)
        case errno.ENOTTY | errno.ENODEV | errno.EINVAL:
            return (
                f"{path} is no GPIO chip, or this kernel is older than 5.10 and lacks "
                "version 2 of the interface: backend: rpigpio is for those"
            )
    return f"cannot open {path}: {error}"


def _permission(path: Path) -> str:
    """Return the text of an error: which group may open it."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        group = "gpio"
    if group == "root":
        return (
            f"no permission on {path}: it belongs to root alone; a udev rule has to "
            f"give it to a group such as gpio"
        )
    return (
        f"no permission on {path}: the user of this process has to be in the group "
        f"{group}"
    )
