"""Set a value every 10 seconds, for ever, whatever happens in between.

A command that cannot be sent now fails at once and is never sent later; the next round
sends what is right then.
"""

import asyncio
import contextlib
import itertools
import os

from busbar.client import BusbarError, Client

PERIOD = float(os.environ.get("PERIOD", "10"))  # s


async def main() -> None:
    async with Client() as bus:
        psu = bus.device("bench/psu")
        for volts in itertools.cycle((3.3, 5.0)):
            try:
                await psu.set("setpoint/voltage", volts, ttl=PERIOD)
                print("set", volts, flush=True)
            except BusbarError as error:
                # offline, locked, out of range, ...: see `error.retryable`
                print("not set:", error.code, error, flush=True)
            await asyncio.sleep(PERIOD)


with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends it
    asyncio.run(main())
