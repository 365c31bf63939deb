"""Life of a simulator as a program.

It prints where it listens, and stays until a signal ends it.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any


def run(simulated: AbstractAsyncContextManager[Mapping[str, object]]) -> None:
    """Run until SIGTERM or SIGINT.

    Entered, it gives what the example has to know, printed as one line of JSON.
    """
    try:
        asyncio.run(_run(simulated))
    except (OSError, OverflowError) as error:  # a port that is taken, or none
        sys.exit(f"simulator: {error}")


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Let something go on until left: the time of a room, the wear of a machine."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _run(simulated: AbstractAsyncContextManager[Mapping[str, object]]) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with simulated as variables:
        print(json.dumps(variables), flush=True)
        await told.wait()
