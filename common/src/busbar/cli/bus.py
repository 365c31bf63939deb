"""The connection of one command, and its run."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import click

from busbar.cli.arguments import suggestion
from busbar.cli.exits import EXPECTED, Incomplete
from busbar.cli.output import Output
from busbar.cli.settings import PATIENCE, Settings
from busbar.client import Client, DeviceView, Stale
from busbar.contract.names import LEVEL, level
from busbar.errors import BusbarError, LinkLost, UnknownTarget
from busbar.mqtt.connection import connection
from busbar.mqtt.reconnect import BrokerLost

T = TypeVar("T")

NEAR = 5.0  # s for all devices where one is not there
FOLLOWED = 2.0  # s for a device that is found by another name


class Interrupted(BaseException):
    """Ctrl-C came; click would print an empty line for a KeyboardInterrupt."""


class Terminated(BaseException):
    """SIGTERM came."""


@contextlib.asynccontextmanager
async def connected(
    settings: Settings,
    devices: Sequence[str] = ("+/+",),
    *,
    settled: bool = True,
    patience: float = PATIENCE,
) -> AsyncIterator[Client]:
    """A client that knows the devices (patterns).

    Raise BrokerLost as soon as the broker refuses or is not there.

    settled: their values are those of now, which takes up to 2 s; if not all came
    within `patience` (s), raise Incomplete on leaving.
    """
    refused: asyncio.Future[BrokerLost] = asyncio.get_running_loop().create_future()

    @contextlib.asynccontextmanager
    async def connect(*arguments: Any) -> AsyncIterator[Any]:
        begun = False
        try:
            async with connection(*arguments) as link:
                begun = True
                yield link
        except BrokerLost as error:
            if not refused.done():
                refused.set_result(_told(error, begun))
            raise

    client = Client(
        settings.endpoint,
        root=settings.prefix,
        devices=devices,
        timeout=settings.timeout,
        patience=patience,
        settled=settled,
        connect=connect,
    )
    await _entered(client, refused)
    try:
        yield client
        _check_complete(client, settled)
    except (BusbarError, Stale) as error:
        _check_complete(client, settled, error)
        raise
    finally:
        await client.close()


def _told(error: BrokerLost, begun: bool) -> BrokerLost:
    """Return the error of a connection, which may have begun."""
    if not begun or isinstance(error, BusbarError):  # rights: the reason is known
        return error
    return BrokerLost(f"the broker ended the session as soon as it had begun: {error}")


def _check_complete(
    client: Client, settled: bool, error: Exception | None = None
) -> None:
    """Raise Incomplete, also for an error that may come of it."""
    if settled and client.incomplete:
        raise Incomplete(client.incomplete) from error


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
    settings: Settings,
    name: str,
    *,
    settled: bool = True,
    patience: float = PATIENCE,
) -> AsyncIterator[DeviceView]:
    """Enter a device that is known on the bus, also by the name it gives itself.

    Raise UsageError, UnknownTarget, BrokerLost, Incomplete.
    """
    exact = device_name(name)
    async with connected(
        settings, [exact], settled=settled, patience=patience
    ) as client:
        found = client.device(exact)
        if found.info is None:
            found = await _by_title(settings, client, name)
        yield found


async def _by_title(settings: Settings, client: Client, name: str) -> DeviceView:
    """Return the one device of a bridge that calls itself so; raise UnknownTarget."""
    if client.incomplete:
        raise Incomplete(client.incomplete)
    titles = await known(settings)
    bridge, _, title = name.partition("/")
    fitting = []
    for each, called in titles.items():
        if called == title and each.startswith(f"{bridge}/"):
            fitting.append(each)
    if len(fitting) != 1:
        raise UnknownTarget(
            f"there is no device {name} on {settings.endpoint.shown}"
            f"{suggestion(name, titles)}"
        )
    found = client.device(fitting[0])
    with contextlib.suppress(TimeoutError):
        await found.wait_online(FOLLOWED)
    return found


async def known(settings: Settings) -> dict[str, str]:
    """Return what devices there are, with their titles; nothing after an error."""
    found: dict[str, str] = {}
    with contextlib.suppress(*EXPECTED, TimeoutError):
        async with connected(settings, settled=False, patience=NEAR) as client:
            for name, device in client.devices().items():
                found[name] = ""
                if device.info is not None and isinstance(device.info.name, str):
                    found[name] = device.info.name
    return found


def device_name(text: str) -> str:
    """Return the `bridge/device` that is meant, mapped as bridges map foreign names.

    Raise UsageError for what is none.
    """
    bridge, _, name = text.partition("/")
    foreign = {"+", "#", "*", "/"} & set(name)
    if not LEVEL.fullmatch(bridge) or not name or foreign:
        raise usage(f"{text!r} is not the name of a device: BRIDGE/DEVICE")
    return f"{bridge}/{own_level(name)}"


def own_level(name: str) -> str:
    """Return a level of a topic as bridges map a foreign name to it (contract 1)."""
    if LEVEL.fullmatch(name):
        return name
    return level(name)


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
    if len(levels) != 2 or not all(levels) or not _is_level(levels[0]):
        raise _no_pattern(text)
    bridge, device = levels
    if device != "+" and {"+", "#"} & set(device):
        raise _no_pattern(text)
    if device != "+":
        device = own_level(device)
    return f"{bridge}/{device}"


def _no_pattern(text: str) -> click.UsageError:
    return usage(
        f"{text!r} is neither BRIDGE/DEVICE nor a pattern of it such as BRIDGE, "
        f"BRIDGE/* or */DEVICE"
    )


def checked(path: str) -> str:
    """Return a pattern of what is below a device: with `*` or `+` for one level.

    Raise UsageError for one that nothing can fit.
    """
    levels = path.replace("*", "+").split("/")
    rest = []
    if levels[-1] == "#":
        rest = [levels.pop()]
    if not all(map(_is_level, levels)):
        mapped = "/".join(map(own_level, levels))
        raise usage(
            f"{path!r}: a level is 1 to 64 of A-Z a-z 0-9 _ -, or * (or +) for any, or "
            f"# at the end for the rest; a name of the device's own may be {mapped!r} "
            f"here"
        )
    return "/".join([*levels, *rest])


def _is_level(text: str) -> bool:
    """Return whether it is a level of a pattern."""
    return text == "+" or LEVEL.fullmatch(text) is not None


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


def note_incomplete(client: Client, output: Output) -> None:
    """Note what had not come in time, before a command goes on."""
    if client.incomplete:
        output.note(f"busbar: incomplete: {client.incomplete}")


def follow() -> None:
    """Log on stderr from now on when the connection breaks and what was missed."""
    log = logging.getLogger("busbar")
    log.setLevel(min(log.level, logging.WARNING))
