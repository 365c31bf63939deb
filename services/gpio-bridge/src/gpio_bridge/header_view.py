"""View of the header: function, level, pull and consumer of each pin."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from busbar.bridge import BusbarError
from gpio_bridge.backends import pinctrl
from gpio_bridge.chip import LineInfo
from gpio_bridge.lines.line import GpioLine
from gpio_bridge.lines.line_set import INSPECT, LineSet, PinState
from gpio_bridge.lines.outputs import Pulsed


class HeaderView:
    """What `inspect` and `state/_inspect` show of one chip."""

    def __init__(self, lines: LineSet) -> None:
        self._lines = lines
        self._about = lines.about
        self._chip = lines.context.chip

    def publish(self) -> None:
        """Publish the view, where the configuration asks for it."""
        if self._about.inspect_every:
            rows = [msgspec.to_builtins(each) for each in self.rows({})]
            self._lines.context.outlet.values({INSPECT.path: rows})

    def rows(self, levels: Mapping[int, bool]) -> Iterator[PinState]:
        """Return a row for each pin; `levels` are those of lines that are not ours."""
        functions, reason = self.functions()
        for offset in self._lines.pins.header():
            about = self._chip.info(offset)
            yield self._row(about, functions, reason, levels.get(offset))

    def functions(self) -> tuple[Mapping[int, str], str | None]:
        """Return what pinctrl says, and why it says nothing."""
        root = Path(self._about.pinctrl_root)
        try:
            return pinctrl.functions(self._chip.label, root), None
        except BusbarError as error:
            return {}, error.message

    def function(
        self, about: LineInfo, functions: Mapping[int, str], reason: str | None
    ) -> tuple[str | None, str | None]:
        """Return the function of a line, or None and the reason."""
        muxed = functions.get(about.offset)
        if muxed is not None and muxed.startswith("alt"):
            return muxed, None
        if muxed is not None and not muxed.startswith("gpio"):
            return None, f"pinctrl calls it {muxed}"
        if about.used or reason is None or self._about.backend == "sim":
            return about.direction, None
        return None, reason

    def _row(
        self,
        about: LineInfo,
        functions: Mapping[int, str],
        reason: str | None,
        level: bool | None,
    ) -> PinState:
        ours = self._lines.at(about.offset)
        function, _ = self.function(about, functions, reason)
        used_as = None
        if ours is not None:
            used_as = ours.name
            value = ours.level(about.offset)
            if value is not None:
                level = value != about.active_low
        return PinState(
            self._lines.pins.pin(about.offset),
            about.offset,
            about.name,
            function,
            level,
            about.pull,
            about.consumer or _pulse_source(ours),
            used_as,
        )


def _pulse_source(line: GpioLine[Any] | None) -> str:
    """Return what pulses a line, as its consumer; "" for any other line."""
    if isinstance(line, Pulsed):
        return f"{line.by} PWM"
    return ""
