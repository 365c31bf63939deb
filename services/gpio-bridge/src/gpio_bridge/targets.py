"""Targets of commands: which line an argument means."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, UnknownTarget
from gpio_bridge import settings
from gpio_bridge.lines.line import GpioLine
from gpio_bridge.lines.line_set import LineSet

ChannelNumber = Annotated[int, Meta(ge=0, le=1023)]
T = TypeVar("T", bound=GpioLine[Any])


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which line: `line` is its name, or a number as the configuration counts.

    `bcm` and `board` are what they say.
    """

    line: ChannelNumber | settings.Path | None = None
    bcm: ChannelNumber | None = None
    board: ChannelNumber | None = None

    def __post_init__(self) -> None:
        given = [self.line, self.bcm, self.board]
        if given.count(None) != 2:
            raise ValueError("which line? allowed: one of line, bcm and board")


class Targets:
    """Finds the lines that commands mean."""

    def __init__(self, lines: LineSet) -> None:
        self._lines = lines

    def offset(self, target: Target) -> int:
        """Return the line of the chip; raise UnknownTarget, OutOfRange."""
        pins = self._lines.pins
        if target.bcm is not None:
            return pins.offset(target.bcm, "BCM")
        if target.board is not None:
            return pins.offset(target.board, "BOARD")
        if isinstance(target.line, str):
            return self._named(target.line)
        assert target.line is not None
        return pins.offset(target.line)

    def configured(self, name: str | int | None) -> settings.AnyLine | None:
        """Return the line of this name in the configuration, released or not."""
        for line in self._lines.about.lines:
            if line.name == name:
                return line
        return None

    def ours(self, target: Target) -> GpioLine[Any]:
        """Return our line that is meant, whether it works or not.

        Raise UnknownTarget, BadRequest.
        """
        by_name = self._lines.by_name
        if isinstance(target.line, str) and target.line in by_name:
            return by_name[target.line]
        offset = self.offset(target)
        found = self._lines.owner(offset)
        if found is None:
            raise BadRequest(
                f"line {offset} is not set up; there are: {self._lines.listed}"
            )
        return found

    def line(self, target: Target, kind: type[T]) -> T:
        """Return our line of a kind.

        Raise UnknownTarget, BadRequest for another kind, or why it does not work.
        """
        found = self.ours(target)
        if found.error is not None:
            raise found.error
        if not isinstance(found, kind):
            raise wrong_direction(found)
        return found

    def _named(self, name: str) -> int:
        """Return the line with a name of ours, of the configuration, or of the kernel.

        Raise UnknownTarget.
        """
        ours = self._lines.by_name.get(name)
        if ours is not None and ours.offsets:
            return ours.offsets[0]
        configured = self.configured(name)
        if configured is not None:
            return self._lines.pins.offset(settings.places(configured)[0])
        try:
            return self._lines.pins.offset(name)
        except UnknownTarget as error:
            raise UnknownTarget(
                f"{error.message}; set up are: {self._lines.listed}"
            ) from error


def wrong_direction(line: GpioLine[Any]) -> BadRequest:
    """Return the error of a line that cannot do what it is asked."""
    direction = line.about.__struct_config__.tag
    return BadRequest(f"{line.name} has the wrong direction: it is {direction}")
