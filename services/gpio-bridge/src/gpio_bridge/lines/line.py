"""What lines of a device have in common.

How they are taken and given back, and whom they tell.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from busbar.bridge import BusbarError, DeviceRefused, Outlet, Property, ReadOnly
from gpio_bridge import settings
from gpio_bridge.chip import Chip, Pulses, Request

# s; a difference from what was kept that is no noise: somebody has set the wall clock
STEP = 1e-3

S = TypeVar("S", bound=settings.Line)


class WallClock:
    """Unix times of the kernel's stamps, in their order.

    The two clocks are compared once, and when one was set.
    """

    def __init__(
        self, monotonic: Callable[[], float], unix: Callable[[], float] = time.time
    ) -> None:
        self._monotonic, self._unix = monotonic, unix
        self._ahead = self._measured()

    def compare(self) -> None:
        """See whether the wall clock was set."""
        if abs(self._unix() - self._monotonic() - self._ahead) > STEP:
            self._ahead = self._measured()

    def _measured(self) -> float:
        """Return the largest of a few.

        Whoever is interrupted between the two readings gets less.
        """
        return max(self._unix() - self._monotonic() for _ in range(3))

    def at(self, stamp: int) -> float:
        """Return Unix s of monotonic ns."""
        return stamp / 1e9 + self._ahead


@dataclass
class Place:
    """What the lines of one device share."""

    chip: Chip
    outlet: Outlet
    clock: WallClock
    # opens the one that fits
    pulses: Callable[[settings.Pwm | settings.Servo, int], Awaitable[Pulses]]
    touched: Callable[[], None] = lambda: None  # a level or a function has changed
    lost: Callable[[str, int], None] = lambda name, count: None


class Line(Generic[S]):
    """One line of the configuration at work, or what keeps it from working (`error`)."""

    def __init__(self, about: S, offsets: Sequence[int], place: Place) -> None:
        self.about, self.offsets, self.place = about, tuple(offsets), place
        self.error: BusbarError | None = DeviceRefused(f"{about.name} is not taken yet")

    @classmethod
    def properties(cls, about: S) -> Iterator[Property]:
        """Return what such a line shows on the bus."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.about.name

    async def open(self) -> None:
        """Take the line and publish its values.

        Raise DeviceRefused, after which it has to be closed.
        """
        raise NotImplementedError

    async def close(self, stopping: bool = False) -> None:
        """Give the line back, when the bridge stops as `at_exit` says."""
        raise NotImplementedError

    async def refresh(self) -> None:
        """Read it anew."""

    async def set(self, suffix: str, value: Any) -> Any:
        """Write one of its properties: "" or what follows its name.

        Return the value as it is then.
        """
        raise ReadOnly(f"{self.name} is not written")

    async def broker_lost(self) -> None:
        """Do what `on_broker_loss` says."""

    def level(self, offset: int) -> bool | None:
        """Return the value of one of its lines as far as it is known."""
        return None

    def path(self, suffix: str) -> str:
        return f"{self.name}/{suffix}" if suffix else self.name

    def say(self, value: Any, suffix: str = "", at: int | None = None) -> None:
        """Publish a value, read at a monotonic time (ns)."""
        self.place.outlet.values(
            {self.path(suffix): value}, None if at is None else self.place.clock.at(at)
        )


async def ended(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, if there is one, and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def released(request: Request | None) -> None:
    if request is not None:
        await request.release()


def shown(
    about: settings.Line, type_: Any, access: Any = "r", suffix: str = "", **more: Any
) -> Property:
    """Return a property of a line; the first one has its title, group and class."""
    path = f"{about.name}/{suffix}" if suffix else about.name
    if not suffix:
        more |= {"title": about.title, "class_": about.class_}
    return Property(path, type_, access, group=about.group, **more)
