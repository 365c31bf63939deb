"""Links, sessions and outlets, as a service declares them; the one reconnect loop.

A service declares Links. Opening one gives a Session, the conversation over that link:
entered = able to serve, left = closed. It speaks to the bus through a Port and one
Outlet for each device.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from busbar.contract.describe import Description
from busbar.contract.messages import Fault
from busbar.errors import BusbarError, LinkLost, Retry
from busbar.link.arbiter import Turn
from busbar.net.backoff import Backoff, Delays
from busbar.net.two_way_event import TwoWayEvent
from busbar.publish.blobs import BlobOutcome

log = logging.getLogger("busbar.session")

OPEN_TIMEOUT = 30.0  # s for a link to become able to serve
CLOSE_TIMEOUT = 10.0  # s for a session to end; what hangs in a driver is given up
# a link that held for `held` starts its delays again
DELAYS = Delays(least=0.1, first=0.5, most=30.0, held=10.0)
USUAL = Retry(DELAYS.first, DELAYS.most)  # of errors that say nothing themselves


class Outlet(Protocol):
    """One device's way to the bus."""

    def values(self, values: Mapping[str, Any], time: float | None = None) -> None:
        """Readings: path -> JSON value, acquired at Unix `time` (s), now if None.

        An error in the place of a value: the device says that it has none (null, bad).
        """

    def bad(self, paths: Iterable[str], error: BusbarError) -> None:
        """Say why properties could not be read; their last values stay."""

    def failed(self, paths: Iterable[str], error: Exception) -> BusbarError:
        """Say that properties could not be read, or an event be told, for any error.

        In an `except Exception` around one item: it costs this item only. What is no
        BusbarError is our own error: the properties are bad with `internal`, the
        traceback is logged once, and it is counted. Return why they are bad; raise the
        error again if the link is lost.
        """

    def gone(self, paths: Iterable[str]) -> None:
        """Properties that the device no longer has."""

    def event(
        self, name: str, fields: Mapping[str, Any], time: float | None = None
    ) -> None:
        """Something that happened."""

    def blob(
        self,
        name: str,
        data: bytes,
        content_type: str,
        *,
        retain: bool = False,
        file: str | None = None,
        about: Mapping[str, Any] = ...,
    ) -> "asyncio.Future[BlobOutcome]":
        """Binary data.

        Whoever asked for them waits for what became of them: published, saved as a
        file, or dropped and why. Otherwise it need not be awaited.

        The property `name` describes the latest: size, content type, file, and what
        `about` adds.

        `file`: where the session has saved it; then data above the limit of a message
        are not published.
        """

    def describe(self, description: Description) -> None:
        """A new description of the device."""

    def online(self) -> None:
        """The device answers (again)."""

    def offline(self, error: BusbarError) -> None:
        """The device does not answer; the link is fine."""

    @property
    def description(self) -> Description:
        """The description as it is now."""

    @property
    def room(self) -> int:
        """Bytes that the fields of one event may have, encoded.

        The broker takes no more.
        """


class Port(Protocol):
    """One link's way to the bus."""

    def outlet(self, device: str) -> Outlet:
        """Return the outlet of a device of this link."""

    def poll(self) -> AbstractAsyncContextManager[None]:
        """The channel for one poll: after all commands."""

    def locked(self, device: str) -> bool:
        """True while a lock covers a device.

        Who asks past the commands, and has no lease, does not change it.
        """

    def connecting(self) -> None:
        """The link is up, the conversation not ready: commands wait."""

    @property
    def broker(self) -> TwoWayEvent:
        """Set while the bridge is connected to its broker."""

    def appear(self, device: str, description: Description) -> Outlet:
        """A device that the link has found is on the bus from here on, and online.

        It keeps its place when the link is lost, and must appear again afterwards.
        Raise BadRequest if its name is no topic level or another link's, TooLarge if
        there are too many.
        """

    def vanish(self, device: str) -> None:
        """A device that appeared is no more: its topics are cleared."""


class Session(Protocol):
    """One open conversation."""

    async def serve(self) -> None:
        """Read, poll, keep alive; raise LinkLost when the link is unusable."""

    async def refresh(self, device: str) -> None:
        """Read everything of a device again."""

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        """Write one property; return what is known of the result, or None."""


@dataclass(frozen=True)
class Link:
    """One physical channel as a service declares it."""

    name: str
    address: str  # never with credentials
    open: Callable[[Port], AbstractAsyncContextManager[Session]]
    devices: Mapping[str, Description]
    config: object = None  # links of equal configuration survive a reload
    shared: bool = False  # devices share a line or an adapter: locks are on the channel
    finds: bool = False  # devices appear on it that no configuration names
    # why it cannot be opened as configured, for a check of the configuration
    problem: str | None = None
    on_demand: bool = False  # opened by a command, closed when idle
    idle_close: float = 60.0  # s


class Keeper(Protocol):
    """The owner of a link, as the reconnect loop sees it."""

    link: Link

    async def until_wanted(self) -> None:
        """Return when the link should be open."""

    async def pause(self, seconds: float, firm: bool = False) -> None:
        """Wait, less if the link is asked for.

        firm: only if it is asked to connect, not for a command.
        """

    async def serve(self, session: Session) -> None:
        """Serve until the link should close; raise when it breaks."""

    def on_lost(self, fault: Fault, soon: bool = False) -> None:
        """Take note that the link is closed, or could not be opened.

        soon: commands wait for it.
        """


class Served(NamedTuple):
    """The end of one attempt to serve: with an error, or on purpose."""

    error: BaseException | None
    opened: bool


async def supervise(keeper: Keeper) -> None:
    """Keep a link open for ever: the only reconnect loop."""
    backoff = Backoff(DELAYS)
    loop = asyncio.get_running_loop()
    while True:
        await keeper.until_wanted()
        started = loop.time()
        served = await _serve(keeper)
        if served.error is None:
            backoff.succeed()
            continue
        backoff.fail(loop.time() - started)
        fault = fault_of(served.error, keeper.link.name)
        # a link that stays down warns once, not at each attempt
        differs = backoff.report(fault)
        _log_fault(keeper.link.name, fault, warn=served.opened or differs)
        retry = _retry_of(served.error)
        keeper.on_lost(fault, retry.soon)
        await keeper.pause(_pause(backoff, retry), retry.firm)


def _log_fault(name: str, fault: Fault, warn: bool) -> None:
    level = logging.WARNING if warn else logging.DEBUG
    log.log(level, "%s: %s", name, fault.message, extra={"device": name})


def _retry_of(error: BaseException) -> Retry:
    inner = leaf(error)
    own = inner.retry if isinstance(inner, BusbarError) else None
    return own or USUAL


def _pause(backoff: Backoff, retry: Retry) -> float:
    """Return the seconds before the next attempt, as the error says itself."""
    if retry is USUAL:
        return backoff.pause()
    return backoff.pause(Delays(retry.first, retry.first, retry.most, DELAYS.held))


async def _serve(keeper: Keeper) -> Served:
    """Open the link and serve until it ends."""
    opened = False
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(OPEN_TIMEOUT) as limit, AsyncExitStack() as stack:
            port = cast("Port", keeper)  # a link at run time is both
            session = await stack.enter_async_context(keeper.link.open(port))
            limit.reschedule(None)
            opened = True
            try:
                await keeper.serve(session)
            finally:
                limit.reschedule(loop.time() + CLOSE_TIMEOUT)
    except (Exception, asyncio.CancelledError) as error:
        # the boundary of one link: a bug in it costs no other
        if is_cancelled():  # from outside, whatever the session says to that
            raise asyncio.CancelledError from error
        return Served(error, opened)
    return Served(None, opened)


def is_cancelled() -> bool:
    """Return whether the current task is to end.

    A CancelledError without that comes from a task that it waited for.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def leaf(error: BaseException) -> BaseException:
    """Return what is inside the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fault_of(error: BaseException, name: str) -> Fault:
    """Return the fault to publish for an error.

    An unexpected one is logged with its traceback.
    """
    error = leaf(error)
    if isinstance(error, BusbarError):
        return Fault(error.code, error.message)
    if isinstance(error, OSError):  # TimeoutError is one
        return Fault(LinkLost.code, str(error) or "no answer in time")
    log.error("%s: unexpected %r", name, error, exc_info=error, extra={"device": name})
    return Fault("internal", f"{type(error).__name__}: {error}")
