"""A lock that renews itself while it is held."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from busbar.client.calls import read_result
from busbar.client.types import LeaseLost, Options
from busbar.contract.messages import Lease
from busbar.errors import BusbarError, LinkLost

if TYPE_CHECKING:
    from busbar.client.device import DeviceView


@contextlib.asynccontextmanager
async def held(
    device: "DeviceView", ttl: float, getting: Options, given: Mapping[str, Any]
) -> AsyncIterator[str]:
    """Lock for the block; `getting` are the options of the command that locks.

    Raise Locked, and LeaseLost at the end of a block during which it was lost.
    """
    answer = await device.call("lock", {"ttl": ttl, **given}, **getting)
    token = read_result(f"{device.name} lock", answer, Lease).lease
    lost: list[BusbarError] = []
    block = asyncio.current_task()
    assert block is not None
    renewing = asyncio.create_task(
        _renew(device, token, ttl, given, lost, block), name=f"lease of {device.name}"
    )
    try:
        yield token
    except asyncio.CancelledError:
        if lost and block.uncancel() == 0:
            raise LeaseLost(f"{device.name}: {lost[0]}") from lost[0]
        raise
    else:
        if lost:  # the block has caught our CancelledError
            block.uncancel()
            raise LeaseLost(f"{device.name}: {lost[0]}") from lost[0]
    finally:
        renewing.cancel()
        if not lost:
            with contextlib.suppress(BusbarError):  # it ends by itself
                await device.call("unlock", lease=token, timeout=ttl)


async def taken(
    lock: AbstractAsyncContextManager[str],
) -> tuple[str, Callable[[], Coroutine[Any, Any, None]]]:
    """Enter a lock in its own task, for users without `async with`.

    Return the lease and what leaves it.
    """
    entered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    leaving = asyncio.Event()

    async def hold() -> None:
        async with lock as token:
            entered.set_result(token)
            await leaving.wait()

    holding = asyncio.create_task(hold(), name="lock")

    async def leave() -> None:
        leaving.set()
        await holding

    ends: list[asyncio.Future[Any]] = [holding, entered]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not entered.done():
        await holding  # raises why it is not ours
    return entered.result(), leave


async def _renew(
    device: "DeviceView",
    token: str,
    ttl: float,
    given: Mapping[str, Any],
    lost: list[BusbarError],
    block: "asyncio.Task[Any]",
) -> None:
    """Renew three times in each ttl; when it fails for good, end the block."""
    loop = asyncio.get_running_loop()
    until = loop.time() + ttl
    while True:
        await asyncio.sleep(ttl / 3)
        asked = loop.time()
        wanted = {"ttl": ttl, **given}
        try:
            answer = await device.call("lock", wanted, lease=token, deadline=until)
            read_result(f"{device.name} lock", answer, Lease)
            until = asked + ttl
        except BusbarError as error:
            if isinstance(error, LinkLost) and loop.time() + ttl / 3 < until:
                continue  # the broker may be back in time
            lost.append(error)
            block.cancel()
            return
