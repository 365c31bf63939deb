"""The connection of one command, and its run."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import click

from busbar.cli.settings import Settings
from busbar.client import Client, DeviceView
from busbar.client.filters import check
from busbar.contract.names import LEVEL
from busbar.errors import LinkLost, UnknownTarget
from busbar.mqtt.connection import connection
from busbar.mqtt.reconnect import BrokerLost

T = TypeVar("T")


class Interrupted(BaseException):
    """Ctrl-C came; click would print an empty line for a KeyboardInterrupt."""


class Terminated(BaseException):
    """SIGTERM came."""


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, devices: Sequence[str] = ("+/+",), *, settled: bool = True
) -> AsyncIterator[Client]:
    """A client that knows the devices (patterns).

    Raise BrokerLost as soon as the broker refuses or is not there.

    settled: their values are those of now, which takes up to 2 s.
    """
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

    client = Client(
        settings.endpoint,
        root=settings.prefix,
        devices=devices,
        timeout=settings.timeout,
        settled=settled,
        connect=connect,
    )
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
            raise refused.result()
        await entering
    except LinkLost as error:
        raise BrokerLost(error.message) from error
    finally:
        if not entering.done():
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)


@contextlib.asynccontextmanager
async def device(
    settings: Settings, name: str, *, settled: bool = True
) -> AsyncIterator[DeviceView]:
    """Enter a device that is known on the bus.

    Raise UsageError, UnknownTarget, BrokerLost.
    """
    check_name(name)
    async with connected(settings, [name], settled=settled) as client:
        found = client.device(name)
        if found.info is None:
            shown = settings.endpoint.shown
            raise UnknownTarget(
                f"there is no device {name} on {shown}; `busbar ls` shows those that "
                f"there are"
            )
        yield found


def check_name(name: str) -> None:
    """Raise UsageError unless it is `bridge/device`."""
    if name.count("/") != 1 or not all(name.split("/")) or {"+", "#", "*"} & set(name):
        raise usage(f"{name!r} is not the name of a device: BRIDGE/DEVICE")


def pattern(text: str) -> str:
    """Return the pattern of `bridge/device` that is meant: `bench`, `bench/*`, `+/psu`.

    Raise UsageError.
    """
    levels = text.replace("*", "+").split("/")
    if levels == ["#"]:
        levels = ["+"]
    if len(levels) == 1:
        levels.append("+")
    if levels[-1] == "#":
        levels[-1] = "+"
    fitting = [each for each in levels if each == "+" or LEVEL.fullmatch(each)]
    if len(levels) != 2 or fitting != levels:
        raise usage(
            f"{text!r} is neither BRIDGE/DEVICE nor a pattern of it such as BRIDGE, "
            f"BRIDGE/* or */DEVICE"
        )
    return "/".join(levels)


def checked(path: str) -> str:
    """Return a pattern of what is below a device.

    Raise UsageError for one that nothing can fit.
    """
    try:
        check(path)
    except ValueError as error:
        raise usage(str(error)) from error
    return path


def usage(message: str) -> click.UsageError:
    """Return an error of whoever typed the command that runs."""
    return click.UsageError(message, click.get_current_context(silent=True))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end.

    Raise Interrupted after Ctrl-C and Terminated after SIGTERM, when all is tidied.
    """
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


async def limited(
    items: AsyncIterator[T], count: int | None, duration: float | None
) -> AsyncIterator[T]:
    """Return items as they come: at most so many, for so long (s).

    None = without end.
    """
    deadline = None
    if duration is not None:
        deadline = asyncio.get_running_loop().time() + duration
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
    """Log on stderr from now on when the connection breaks and what was missed."""
    log = logging.getLogger("busbar")
    log.setLevel(min(log.level, logging.WARNING))
