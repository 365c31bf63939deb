"""Base of the lines of a device: taken, given back, published."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from busbar.bridge import BusbarError, DeviceRefused, Outlet, Property, ReadOnly
from gpio_bridge import settings
from gpio_bridge.chip import Chip, Pulses, Request

# s; a difference that is no noise: somebody has set the wall clock
STEP = 1e-3

S = TypeVar("S", bound=settings.AnyLine)


class WallClock:
    """Unix times of the kernel's stamps, in their order.

    The two clocks are compared once, and when one was set.
    """

    def __init__(
        self, monotonic: Callable[[], float], unix: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._unix = unix
        self._ahead = self._measured()

    def compare(self) -> None:
        """See whether the wall clock was set."""
        ahead = self._unix() - self._monotonic()
        if abs(ahead - self._ahead) > STEP:
            self._ahead = self._measured()

    def _measured(self) -> float:
        """Return the largest of a few.

        Whoever is interrupted between the two readings gets less.
        """
        return max(self._unix() - self._monotonic() for _ in range(3))

    def at(self, stamp: int) -> float:
        """Return Unix s of monotonic ns."""
        return stamp / 1e9 + self._ahead


# opens what can pulse a line of the chip
OpenPulses = Callable[[settings.Pwm | settings.Servo, int], Awaitable[Pulses]]


@dataclass
class LineContext:
    """The chip and the outlet that the lines of one device share."""

    chip: Chip
    outlet: Outlet
    clock: WallClock
    pulses: OpenPulses
    on_change: Callable[[], None] = lambda: None  # of a level or a function
    on_lost: Callable[[str, int], None] = lambda name, count: None


class GpioLine(Generic[S]):
    """One line of the configuration at work; `error` is what keeps it from working."""

    def __init__(self, about: S, offsets: Sequence[int], context: LineContext) -> None:
        self.about = about
        self.offsets = tuple(offsets)
        self.context = context
        self.outlet = context.outlet
        self.clock = context.clock
        self.error: BusbarError | None = DeviceRefused(f"{about.name} is not taken yet")

    @classmethod
    def properties(cls, about: S) -> Iterator[Property]:
        """Return the properties of such a line."""
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
        """Read it again."""

    async def set(self, suffix: str, value: Any) -> Any:
        """Write one of its properties: "" or what follows its name.

        Return the value as it is then.
        """
        raise ReadOnly(f"{self.name} is not written")

    async def set_for_broker_loss(self) -> None:
        """Do what `on_broker_loss` says."""

    def level(self, offset: int) -> bool | None:
        """Return the value of one of its lines as far as it is known."""
        return None

    def publish(self, value: Any, suffix: str = "", at: int | None = None) -> None:
        """Publish a value, read at a monotonic time (ns)."""
        path = f"{self.name}/{suffix}" if suffix else self.name
        time = None if at is None else self.clock.at(at)
        self.outlet.values({path: value}, time)


async def end(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, if there is one, and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def release(request: Request | None) -> None:
    if request is not None:
        await request.release()


def line_property(
    about: settings.AnyLine,
    type_: Any,
    access: Any = "r",
    suffix: str = "",
    **more: Any,
) -> Property:
    """Return a property of a line; the first one has its title, group and class."""
    path = f"{about.name}/{suffix}" if suffix else about.name
    if not suffix:
        more |= {"title": about.title, "class_": about.class_}
    return Property(path, type_, access, group=about.group, **more)
