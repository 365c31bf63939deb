"""A chip through RPi.GPIO or its drop-in rpi-lgpio, for kernels without version 2 of the GPIO interface.

Its calls run in one thread, its edges come from another. Limits: the times of edges are ours, not the kernel's; edges
that follow each other faster than the callback are seen as lost, without knowing how many; no other process is known
of; outputs are push-pull.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from busbar.bridge.errors import DeviceRefused, LinkLost, UnknownTarget
from gpio_bridge.chip import Edge, Heard, LineInfo, LineSettings, Pulse
from gpio_bridge.edges.debounce import Settle

LINES = 54
WAITING = 10_000  # edges between the two threads; more are dropped and show as lost


def load() -> Any:
    """Return the module RPi.GPIO; raise LinkLost with what to install."""
    try:
        from RPi import GPIO
    except ImportError as error:
        raise LinkLost(
            "backend: rpigpio needs RPi.GPIO or rpi-lgpio, one of them: pip install "
            "'gpio-bridge[rpigpio]' "
            "or 'gpio-bridge[rpi-lgpio]'"
        ) from error
    except RuntimeError as error:  # both say so at import: not a Pi
        raise LinkLost(f"RPi.GPIO: {error}") from error
    return GPIO


class RpiGpioChip:
    """The header; `module` is RPi.GPIO. Entered lines stay ours until `close`."""

    def __init__(self, module: Any, count: int = LINES) -> None:
        self.name, self.label, self.count = (
            "rpigpio",
            f"RPi.GPIO {getattr(module, 'VERSION', '')}".strip(),
            count,
        )
        self.broken: Callable[[LinkLost], None] = lambda error: None
        self.module = module
        self._thread = ThreadPoolExecutor(1, "rpigpio")
        self._ours: dict[int, RpiGpioRequest] = {}
        self._watchers: list[Callable[[LineInfo], None]] = []
        self._loop = asyncio.get_running_loop()
        module.setwarnings(False)
        module.setmode(module.BCM)

    async def run(
        self, function: Callable[..., Any], *arguments: Any, **named: Any
    ) -> Any:
        """Call a function of RPi.GPIO in its thread; raise DeviceRefused."""
        try:
            return await self._loop.run_in_executor(
                self._thread, partial(function, *arguments, **named)
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise DeviceRefused(f"RPi.GPIO: {error}") from error
        except Exception as error:
            if type(error).__module__ != "lgpio":  # rpi-lgpio lets these through
                raise
            raise DeviceRefused(f"rpi-lgpio: {error}") from error

    def info(self, offset: int) -> LineInfo:
        request = self._ours.get(offset)
        if request is None:
            return LineInfo(offset, f"GPIO{offset}")
        about = request.lines[offset]
        pull: Literal["unknown", "off", "up", "down"] = (
            "unknown" if about.pull == "as_is" else about.pull
        )
        way: Literal["in", "out"] = "out" if about.direction == "out" else "in"
        return LineInfo(
            offset,
            f"GPIO{offset}",
            True,
            "busbar",
            way,
            pull,
            active_low=about.active_low,
        )

    def offset(self, name: str) -> int:
        number = name.removeprefix("GPIO")
        if not number.isdigit() or int(number) >= self.count:
            raise UnknownTarget(
                f"no line {name!r}; RPi.GPIO has GPIO0 to GPIO{self.count - 1}"
            )
        return int(number)

    async def request(
        self, lines: Mapping[int, LineSettings], heard: Heard | None = None
    ) -> "RpiGpioRequest":
        if busy := [offset for offset in lines if offset in self._ours]:
            raise DeviceRefused(f"line {busy[0]} is busy: 'busbar' holds it")
        if wrong := [offset for offset in lines if offset >= self.count]:
            raise DeviceRefused(
                f"RPi.GPIO has no line {wrong[0]}; allowed: 0 to {self.count - 1}"
            )
        request = RpiGpioRequest(self, lines, heard)
        try:
            await request.configure(lines)
        except DeviceRefused:
            await request.release()
            raise
        self._ours.update(dict.fromkeys(lines, request))
        self._tell(lines)
        return request

    def watch(self, changed: Callable[[LineInfo], None]) -> None:
        self._watchers.append(changed)

    async def close(self) -> None:
        for request in set(self._ours.values()):
            await request.release()
        self._thread.shutdown(wait=False)

    def forget(self, offsets: Mapping[int, LineSettings]) -> None:
        for offset in offsets:
            self._ours.pop(offset, None)
        self._tell(offsets)

    def _tell(self, offsets: Mapping[int, LineSettings]) -> None:
        for each in self._watchers:
            for offset in offsets:
                each(self.info(offset))


class RpiGpioRequest:
    """Lines that are ours."""

    def __init__(
        self, chip: RpiGpioChip, lines: Mapping[int, LineSettings], heard: Heard | None
    ) -> None:
        self.lines = dict(lines)
        self._chip, self._heard = chip, heard
        self._gpio = chip.module
        self._loop = asyncio.get_running_loop()
        self._sources: dict[int, _Source] = {}

    async def read(self, offset: int) -> bool:
        source = self._sources.get(offset)
        if source is not None and source.settled is not None:
            return source.settled
        return (
            bool(await self._chip.run(self._gpio.input, offset))
            != self.lines[offset].active_low
        )

    async def write(self, offset: int, value: bool) -> None:
        if self.lines[offset].direction != "out":
            raise DeviceRefused(f"line {offset} is no output")
        await self._chip.run(
            self._gpio.output, offset, int(value != self.lines[offset].active_low)
        )

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        for offset, about in lines.items():
            self._refuse(offset, about)
            await self._forget_edges(offset)
            await self._set_up(offset, about)
            self.lines[offset] = about
            if about.edges and self._heard is not None:
                await self._hear(offset, about)

    async def release(self) -> None:
        """Forget the lines.

        No `cleanup` of RPi.GPIO, which would make inputs of outputs.
        """
        for offset in self.lines:
            await self._forget_edges(offset)
        self._chip.forget(self.lines)

    def _refuse(self, offset: int, about: LineSettings) -> None:
        if about.direction == "out" and about.drive != "push_pull":
            raise DeviceRefused(
                f"line {offset}: RPi.GPIO has push-pull outputs only, not {about.drive}"
            )

    async def _set_up(self, offset: int, about: LineSettings) -> None:
        gpio, run = self._gpio, self._chip.run
        if about.direction == "out":
            await run(
                gpio.setup,
                offset,
                gpio.OUT,
                initial=int(about.value != about.active_low),
            )
        elif (
            about.direction == "in"
            or (function := await run(gpio.gpio_function, offset)) == gpio.IN
        ):
            pull = {"up": gpio.PUD_UP, "down": gpio.PUD_DOWN}.get(
                about.pull, gpio.PUD_OFF
            )
            await run(gpio.setup, offset, gpio.IN, pull_up_down=pull)
        elif function == gpio.OUT:
            # to read an output RPi.GPIO has to know it as one; that keeps its level
            await run(gpio.setup, offset, gpio.OUT)
        else:
            raise DeviceRefused(
                f"line {offset} is neither input nor output now: RPi.GPIO would "
                f"make "
                f"one of it"
            )

    async def _hear(self, offset: int, about: LineSettings) -> None:
        assert self._heard is not None
        source = _Source(
            self._loop, offset, await self.read(offset), about, self._heard
        )
        self._sources[offset] = source
        call = partial(
            source.called, lambda: bool(self._gpio.input(offset)) != about.active_low
        )
        await self._chip.run(
            self._gpio.add_event_detect, offset, self._gpio.BOTH, callback=call
        )

    async def _forget_edges(self, offset: int) -> None:
        source = self._sources.pop(offset, None)
        if source is not None:
            source.ended = True
            await self._chip.run(self._gpio.remove_event_detect, offset)


class _Source:
    """The edges of one line on their way from the callback's thread.

    Settles them, which RPi.GPIO cannot.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        offset: int,
        value: bool,
        about: LineSettings,
        heard: Heard,
    ) -> None:
        self.ended = False
        self._loop, self._heard = loop, heard
        self._last = Edge(offset, value, 0, 0)
        self._waiting = 0
        self._settle = Settle(value, about.debounce) if about.debounce else None
        self._told = 0

    @property
    def settled(self) -> bool | None:
        """The value that has settled, None without debouncing."""
        return self._settle.value if self._settle else None

    def called(self, read: Callable[[], bool], _channel: int) -> None:
        """Take a callback, in its thread.

        A level that is the last one says that two edges were missed or merged.
        """
        value, now = read(), time.monotonic_ns()
        number = self._last.seq + 1 + (value == self._last.value)
        self._last = Edge(self._last.offset, value, now, number)
        if self._waiting < WAITING:
            self._waiting += 1
            self._loop.call_soon_threadsafe(self._take, self._last)

    def _take(self, edge: Edge) -> None:
        self._waiting -= 1
        if self._settle is None:
            self._tell(edge)
            return
        for each in self._settle.edge(edge):
            self._tell(each)
        if self._settle.due is not None:
            self._loop.call_at(self._settle.due / 1e9, self._look)

    def _look(self) -> None:
        for each in (
            self._settle.tick(round(self._loop.time() * 1e9)) if self._settle else ()
        ):
            self._tell(each)

    def _tell(self, edge: Edge) -> None:
        if self._settle is not None:  # what was settled away is not lost
            self._told += 1
            edge = edge._replace(seq=self._told)
        if not self.ended:
            self._heard([edge])


class RpiGpioPulses:
    """Software PWM of RPi.GPIO: one pulse a period."""

    by = "software"

    def __init__(self, chip: RpiGpioChip, offset: int) -> None:
        self._chip, self._offset = chip, offset
        self._pwm: Any = None
        self._period = 0.0

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        if len(pulses) != 1 or pulses[0].start:
            raise DeviceRefused("RPi.GPIO repeats one pulse a period; more needs lgpio")
        self._period, duty = period, 100 * pulses[0].width / period
        if self._pwm is None:
            await self._chip.run(
                self._chip.module.setup, self._offset, self._chip.module.OUT, initial=0
            )
            self._pwm = await self._chip.run(
                self._chip.module.PWM, self._offset, 1 / period
            )
            await self._chip.run(self._pwm.start, duty)
        else:
            await self._chip.run(self._pwm.ChangeFrequency, 1 / period)
            await self._chip.run(self._pwm.ChangeDutyCycle, duty)

    async def stop(self) -> None:
        """A duty cycle of 0 takes effect with the next period; then the thread ends."""
        if self._pwm is not None:
            pwm, self._pwm = self._pwm, None
            await self._chip.run(pwm.ChangeDutyCycle, 0)
            await asyncio.sleep(self._period)
            await self._chip.run(pwm.stop)

    async def close(self, keep: bool = False) -> None:
        await self.stop()
