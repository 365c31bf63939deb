"""Software PWM and pulses through lgpio, an extra.

Its thread sleeps between edges, so there is jitter.

Source: the docstrings of lgpio 0.2.2.0: an endless pulse train is replaced at the end
of a cycle, and so is stopped without cutting a pulse by one that ends.
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from busbar.bridge.errors import DeviceRefused
from gpio_bridge.chip import Pulse

AHEAD = 3  # waves in lgpio's queue, which takes 10
WAVE = 0.2  # s that one wave of pulses lasts at least
LOOK = 0.05  # s between looks at the queue
# s of a period: lgpio promises no more than 10 kHz, and takes whole microseconds
SHORTEST = 1e-4
STEPS_LIMIT = 2000  # steps of one wave
ENDING = 10  # periods after which a train that should have ended is cut


def load() -> Any:
    """Return the module lgpio; raise DeviceRefused with what to install."""
    try:
        import lgpio
    except ImportError as error:
        raise DeviceRefused(
            "software PWM needs lgpio: the extra `lgpio` of busbar-gpio-bridge"
        ) from error
    return lgpio


class SoftwarePulses:
    """One line that lgpio drives; `path` is the device of its chip."""

    by = "software"

    def __init__(self, module: Any, path: Path, offset: int) -> None:
        self._lgpio = module
        self._offset = offset
        module.exceptions = True
        number = int(path.resolve().name.removeprefix("gpiochip"))
        self._chip = self._call(module.gpiochip_open, number)
        try:
            self._call(module.gpio_claim_output, self._chip, offset, 0)
        except DeviceRefused:
            module.gpiochip_close(self._chip)
            raise
        self._period = 0.0
        self._feeding: asyncio.Task[None] | None = None

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        """Repeat pulses.

        A single one at the start of the period is left to lgpio, others are fed to it.
        """
        if period < SHORTEST:
            raise DeviceRefused(
                f"{1 / period:g} Hz; allowed for software PWM: up to {1 / SHORTEST:g}"
            )
        if len(pulses) == 1 and not pulses[0].start:
            await self._end_feeding()
            width = round(pulses[0].width * 1e6)
            rest = round(period * 1e6) - width
            self._line_call(self._lgpio.tx_pulse, width, rest)
        else:
            await self.stop()
            wave = [self._lgpio.pulse(*each) for each in steps(period, pulses)]
            self._feeding = asyncio.create_task(
                self._feed(wave), name=f"pulses-{self._offset}"
            )
        self._period = period

    async def stop(self) -> None:
        await self._end_feeding()
        if self._busy(self._lgpio.TX_PWM):
            period = round(self._period * 1e6)
            # one more, of width 0
            self._line_call(self._lgpio.tx_pulse, 0, period, 0, 1)
            await self._wait_for_end(self._lgpio.TX_PWM)

    async def close(self, keep: bool = False) -> None:
        try:
            await self.stop()
        finally:
            self._lgpio.gpiochip_close(self._chip)

    async def _feed(self, wave: list[Any]) -> None:
        capacity = self._line_call(self._lgpio.tx_room, self._lgpio.TX_WAVE)
        while True:
            room = self._line_call(self._lgpio.tx_room, self._lgpio.TX_WAVE)
            queued = capacity - room
            for _ in range(AHEAD - queued):
                self._line_call(self._lgpio.tx_wave, wave)
            await asyncio.sleep(LOOK)

    async def _end_feeding(self) -> None:
        """Feed no more; what has been queued ends by itself, at the end of a period."""
        feeding = self._feeding
        if feeding is None:
            return
        self._feeding = None
        feeding.cancel()
        (outcome,) = await asyncio.gather(feeding, return_exceptions=True)
        await self._wait_for_end(self._lgpio.TX_WAVE)
        if isinstance(outcome, DeviceRefused):
            raise outcome

    async def _wait_for_end(self, kind: int) -> None:
        patience = ENDING * max(self._period, LOOK) + AHEAD * WAVE
        try:
            async with asyncio.timeout(patience):
                while self._busy(kind):  # noqa: ASYNC110  # lgpio has no event for it
                    await asyncio.sleep(min(self._period, LOOK) or LOOK)
        except TimeoutError:
            self._line_call(self._lgpio.tx_pulse, 0, 0)

    def _busy(self, kind: int) -> bool:
        return bool(self._line_call(self._lgpio.tx_busy, kind))

    def _line_call(self, function: Any, *arguments: Any) -> Any:
        return self._call(function, self._chip, self._offset, *arguments)

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            if type(error).__module__ != "lgpio":
                raise
            raise DeviceRefused(f"line {self._offset}: lgpio: {error}") from error


def steps(period: float, pulses: Iterable[Pulse]) -> list[tuple[int, int, int]]:
    """Return the steps of a wave: level, mask and microseconds.

    It holds as many periods as last WAVE.

    Raise DeviceRefused when pulses overlap or leave the period.
    """
    one: list[tuple[int, int, int]] = []
    at = 0
    end = round(period * 1e6)
    for pulse in sorted(pulses):
        start = round(pulse.start * 1e6)
        width = round(pulse.width * 1e6)
        if start < at or start + width > end or width <= 0:
            raise DeviceRefused(
                f"the pulse from {start} us for {width} us overlaps another, or "
                "leaves the subcycle"
            )
        if start > at:
            one.append((0, 1, start - at))
        one.append((1, 1, width))
        at = start + width
    if end > at:
        one.append((0, 1, end - at))
    periods = min(round(WAVE / period), STEPS_LIMIT // len(one))
    return one * max(1, periods)
