"""One connection for one command, and what runs it."""

import asyncio
import contextlib
import logging
import signal
import threading
import time as clock
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from busbar.broker import BrokerLost
from busbar.cli.settings import Settings
from busbar.client import Client, Device
from busbar.errors import BadRequest, LinkLost, UnknownTarget
from busbar.mqtt import connection

T = TypeVar("T")

BEHIND = 1.1  # s
SNAPSHOT = 2.0  # s


class Interrupted(BaseException):
    """Ctrl-C came; click would print an empty line for a KeyboardInterrupt."""


class Terminated(BaseException):
    """SIGTERM came."""


@contextlib.asynccontextmanager
async def connected(settings: Settings, devices: Sequence[str] = ("+/+",)) -> AsyncIterator[Client]:
    """A client that knows the devices (patterns); raise BrokerLost as soon as the broker refuses or is not there."""
    refused: asyncio.Future[BrokerLost] = asyncio.get_running_loop().create_future()

    @contextlib.asynccontextmanager
    async def connect(*arguments: Any) -> AsyncIterator[Any]:
        try:
            async with connection(*arguments) as link:
                yield link
        except BrokerLost as error:
            if not refused.done():
                refused.set_result(error)
            raise

    timeout = settings.timeout
    client = Client(settings.endpoint, root=settings.prefix, devices=devices, timeout=timeout, connect=connect)
    await _entered(client, refused)
    try:
        yield client
    finally:
        await client.close()


async def _entered(client: Client, refused: "asyncio.Future[BrokerLost]") -> None:
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        waiting: list[asyncio.Future[Any]] = [entering, refused]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if refused.done() and not entering.done():
            raise BrokerLost(str(refused.result())) from refused.result()
        await entering
    except LinkLost as error:
        raise BrokerLost(error.message) from error
    finally:
        if not entering.done():
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)


@contextlib.asynccontextmanager
async def device(settings: Settings, name: str) -> AsyncIterator[Device]:
    """A device that is known on the bus; raise UnknownTarget, BrokerLost."""
    check_name(name)
    async with connected(settings, [name]) as client:
        found = client.device(name)
        if found.info is None:
            shown = settings.endpoint.shown
            raise UnknownTarget(f"there is no device {name} on {shown}; `busbar ls` shows those that there are")
        yield found


async def fresh(found: Device) -> None:
    """Return when the values are those of now: what is retained may be a second behind (contract 3.3)."""
    newest = max(found.snapshot().times.values(), default=0.0)
    if found.state == "online" and abs(clock.time() - newest) < BEHIND:
        async with found.watch(current=False) as news:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEHIND):
                    await anext(news)
    if found.state == "online" and found.stale is not None and found.stale.code in ("gap", "unknown"):
        with contextlib.suppress(TimeoutError):
            await found.wait_online(SNAPSHOT)


def check_name(name: str) -> None:
    """Raise BadRequest unless it is `bridge/device`."""
    if name.count("/") != 1 or not all(name.split("/")) or {"+", "#", "*"} & set(name):
        raise BadRequest(f"{name!r} is not the name of a device: BRIDGE/DEVICE")


def pattern(text: str) -> str:
    """Return the pattern of `bridge/device` that is meant: `bench`, `bench/*`, `+/psu`; raise BadRequest."""
    levels = text.replace("*", "+").split("/")
    if len(levels) == 1:
        levels = ["+", "+"] if levels[0] in ("+", "#") else [levels[0], "+"]
    if levels[-1] == "#":
        levels[-1] = "+"
    if len(levels) != 2 or not all(levels) or any(each != "+" and {"+", "#"} & set(each) for each in levels):
        raise BadRequest(f"{text!r} is neither BRIDGE/DEVICE nor a pattern of it such as BRIDGE, BRIDGE/* or */DEVICE")
    return "/".join(levels)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; raise Interrupted after Ctrl-C and Terminated after SIGTERM, when all is tidied."""
    terminated = False

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None

        def end() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        return await work

    try:
        return asyncio.run(guarded())
    except KeyboardInterrupt:
        raise Interrupted from None
    except asyncio.CancelledError:
        if terminated:
            raise Terminated from None
        raise


async def limited(items: AsyncIterator[T], count: int | None, duration: float | None) -> AsyncIterator[T]:
    """Return items as they come: at most so many, for so long (s); None = without end."""
    deadline = None if duration is None else asyncio.get_running_loop().time() + duration
    taken = 0
    while count is None or taken < count:
        try:
            async with asyncio.timeout_at(deadline):
                item = await anext(items)
        except (TimeoutError, StopAsyncIteration):
            return
        yield item
        taken += 1


def follow() -> None:
    """From now on tell on stderr when the connection breaks and what was missed."""
    log = logging.getLogger("busbar")
    log.setLevel(min(log.level, logging.WARNING))
