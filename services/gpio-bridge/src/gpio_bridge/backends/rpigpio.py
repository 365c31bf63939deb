"""Chip through RPi.GPIO or its drop-in rpi-lgpio.

It is for kernels without version 2 of the GPIO interface. Its calls run in one thread,
its edges come from another. Limits: the times of edges are ours, not the kernel's; of
edges that come faster than the callback it is only known that some were lost; other
processes are not seen; outputs are push-pull.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from busbar.bridge.errors import DeviceRefused, LinkLost, UnknownTarget
from gpio_bridge.chip import Edge, LineInfo, LineSettings, OnEdges, Pulse
from gpio_bridge.edges.debounce import Settle

LINES = 54
WAITING = 10_000  # edges between the two threads; more are dropped and show as lost


def load() -> Any:
    """Return the module RPi.GPIO; raise LinkLost with what to install."""
    try:
        from RPi import GPIO
    except ImportError as error:
        raise LinkLost(
            "backend: rpigpio needs RPi.GPIO or rpi-lgpio, one of them: the extra "
            "`rpigpio` or `rpi-lgpio` of busbar-gpio-bridge"
        ) from error
    except RuntimeError as error:  # both say so at import: not a Pi
        raise LinkLost(f"RPi.GPIO: {error}") from error
    return GPIO


class RpiGpioChip:
    """The header; `module` is RPi.GPIO."""

    def __init__(self, module: Any, count: int = LINES) -> None:
        version = getattr(module, "VERSION", "")
        self.name = "rpigpio"
        self.label = f"RPi.GPIO {version}".strip()
        self.count = count
        self.on_broken: Callable[[LinkLost], None] = lambda error: None
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
        direction: Literal["in", "out"] = "out" if about.direction == "out" else "in"
        pull = "unknown" if about.pull == "as_is" else about.pull
        return LineInfo(
            offset,
            f"GPIO{offset}",
            True,
            "busbar",
            direction,
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
        self, lines: Mapping[int, LineSettings], on_edges: OnEdges | None = None
    ) -> "RpiGpioRequest":
        for offset in lines:
            self._check(offset)
        request = RpiGpioRequest(self, lines, on_edges)
        try:
            await request.configure(lines)
        except DeviceRefused:
            await request.release()
            raise
        self._ours.update(dict.fromkeys(lines, request))
        self._notify(lines)
        return request

    def _check(self, offset: int) -> None:
        if offset in self._ours:
            raise DeviceRefused(f"line {offset} is busy: 'busbar' holds it")
        if offset >= self.count:
            raise DeviceRefused(
                f"RPi.GPIO has no line {offset}; allowed: 0 to {self.count - 1}"
            )

    def watch(self, on_change: Callable[[LineInfo], None]) -> None:
        self._watchers.append(on_change)

    async def close(self) -> None:
        for request in set(self._ours.values()):
            await request.release()
        self._thread.shutdown(wait=False)

    def forget(self, offsets: Mapping[int, LineSettings]) -> None:
        for offset in offsets:
            self._ours.pop(offset, None)
        self._notify(offsets)

    def _notify(self, offsets: Mapping[int, LineSettings]) -> None:
        for each in self._watchers:
            for offset in offsets:
                each(self.info(offset))


class RpiGpioRequest:
    """Lines that are ours."""

    def __init__(
        self,
        chip: RpiGpioChip,
        lines: Mapping[int, LineSettings],
        on_edges: OnEdges | None,
    ) -> None:
        self.lines = dict(lines)
        self._chip = chip
        self._on_edges = on_edges
        self._gpio = chip.module
        self._loop = asyncio.get_running_loop()
        self._sources: dict[int, _EdgeSource] = {}

    async def read(self, offset: int) -> bool:
        source = self._sources.get(offset)
        if source is not None and source.stable_value is not None:
            return source.stable_value
        level = await self._chip.run(self._gpio.input, offset)
        return bool(level) != self.lines[offset].active_low

    async def write(self, offset: int, value: bool) -> None:
        if self.lines[offset].direction != "out":
            raise DeviceRefused(f"line {offset} is no output")
        level = int(value != self.lines[offset].active_low)
        await self._chip.run(self._gpio.output, offset, level)

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        for offset, about in lines.items():
            self._refuse(offset, about)
            await self._forget_edges(offset)
            await self._set_up(offset, about)
            self.lines[offset] = about
            if about.edges and self._on_edges is not None:
                await self._watch_edges(offset, about, self._on_edges)

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
        if about.direction == "out":
            level = int(about.value != about.active_low)
            await self._chip.run(
                self._gpio.setup, offset, self._gpio.OUT, initial=level
            )
        elif about.direction == "in":
            await self._set_up_input(offset, about)
        else:
            await self._set_up_as_is(offset, about)

    async def _set_up_input(self, offset: int, about: LineSettings) -> None:
        gpio = self._gpio
        pulls = {"up": gpio.PUD_UP, "down": gpio.PUD_DOWN}
        pull = pulls.get(about.pull, gpio.PUD_OFF)
        await self._chip.run(gpio.setup, offset, gpio.IN, pull_up_down=pull)

    async def _set_up_as_is(self, offset: int, about: LineSettings) -> None:
        gpio = self._gpio
        function = await self._chip.run(gpio.gpio_function, offset)
        if function == gpio.IN:
            await self._set_up_input(offset, about)
        elif function == gpio.OUT:
            # to read an output RPi.GPIO has to know it as one; that keeps its level
            await self._chip.run(gpio.setup, offset, gpio.OUT)
        else:
            raise DeviceRefused(
                f"line {offset} is neither input nor output now: RPi.GPIO would "
                "make one of it"
            )

    async def _watch_edges(
        self, offset: int, about: LineSettings, on_edges: OnEdges
    ) -> None:
        value = await self.read(offset)
        source = _EdgeSource(self._loop, offset, value, about, on_edges)
        self._sources[offset] = source

        def read() -> bool:
            return bool(self._gpio.input(offset)) != about.active_low

        await self._chip.run(
            self._gpio.add_event_detect,
            offset,
            self._gpio.BOTH,
            callback=partial(source.on_callback, read),
        )

    async def _forget_edges(self, offset: int) -> None:
        source = self._sources.pop(offset, None)
        if source is not None:
            source.ended = True
            await self._chip.run(self._gpio.remove_event_detect, offset)


class _EdgeSource:
    """Edges of one line on their way from the callback's thread, debounced here."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        offset: int,
        value: bool,
        about: LineSettings,
        on_edges: OnEdges,
    ) -> None:
        self.ended = False
        self._loop = loop
        self._on_edges = on_edges
        self._last = Edge(offset, value, 0, 0)
        self._waiting = 0
        self._settle = Settle(value, about.debounce) if about.debounce else None
        self._seq = 0  # of debounced edges

    @property
    def stable_value(self) -> bool | None:
        """The value that has settled, None without debouncing."""
        return None if self._settle is None else self._settle.value

    def on_callback(self, read: Callable[[], bool], _channel: int) -> None:
        """Take a callback, in its thread.

        A level that is the last one says that two edges were missed or merged.
        """
        last = self._last
        value = read()
        number = last.seq + 1
        if value == last.value:
            number += 1
        self._last = Edge(last.offset, value, time.monotonic_ns(), number)
        if self._waiting < WAITING:
            self._waiting += 1
            self._loop.call_soon_threadsafe(self._take, self._last)

    def _take(self, edge: Edge) -> None:
        self._waiting -= 1
        if self._settle is None:
            self._report(edge)
            return
        for each in self._settle.edge(edge):
            self._report(each)
        if self._settle.due is not None:
            self._loop.call_at(self._settle.due / 1e9, self._look)

    def _look(self) -> None:
        if self._settle is None:
            return
        for each in self._settle.tick(round(self._loop.time() * 1e9)):
            self._report(each)

    def _report(self, edge: Edge) -> None:
        if self._settle is not None:  # what was settled away is not lost
            self._seq += 1
            edge = edge._replace(seq=self._seq)
        if not self.ended:
            self._on_edges([edge])


class RpiGpioPulses:
    """Software PWM of RPi.GPIO: one pulse a period."""

    by = "software"

    def __init__(self, chip: RpiGpioChip, offset: int) -> None:
        self._chip = chip
        self._offset = offset
        self._pwm: Any = None
        self._period = 0.0

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        if len(pulses) != 1 or pulses[0].start:
            raise DeviceRefused("RPi.GPIO repeats one pulse a period; more needs lgpio")
        self._period = period
        duty = 100 * pulses[0].width / period
        run = self._chip.run
        if self._pwm is None:
            gpio = self._chip.module
            await run(gpio.setup, self._offset, gpio.OUT, initial=0)
            self._pwm = await run(gpio.PWM, self._offset, 1 / period)
            await run(self._pwm.start, duty)
        else:
            await run(self._pwm.ChangeFrequency, 1 / period)
            await run(self._pwm.ChangeDutyCycle, duty)

    async def stop(self) -> None:
        """Set a duty cycle of 0, and end the thread of RPi.GPIO a period later."""
        pwm = self._pwm
        if pwm is not None:
            self._pwm = None
            await self._chip.run(pwm.ChangeDutyCycle, 0)
            await asyncio.sleep(self._period)
            await self._chip.run(pwm.stop)

    async def close(self, keep: bool = False) -> None:
        await self.stop()
