"""Show a power supply, set its voltage, and follow it: asyncio.

python show_and_set.py 5        the broker is BUSBAR_URL, else this machine
"""

import asyncio
import sys

from busbar.client import BusbarError, Client, LinkLost, Stale

DEVICE = "bench/psu"


async def main(volts: float) -> None:
    async with Client() as bus:
        psu = bus.device(DEVICE)
        await psu.wait_online(timeout=10)
        name = psu.info.name or psu.info.kind
        print("it is a", name, "with", ", ".join(psu.info.properties))
        try:
            # returns when the supply has taken it
            await psu.set("setpoint/voltage", volts)
        except LinkLost as error:
            print("nobody knows whether it was done:", error)
        except BusbarError as error:
            print("refused:", error.code, error)
        async for change in psu.watch("voltage", "output"):
            print(
                change.path,
                change.value
                if change.stale is None
                else f"unknown, {change.stale.message}",
                flush=True,
            )


if __name__ == "__main__":
    try:
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
    except (KeyboardInterrupt, LinkLost, Stale, TimeoutError) as error:
        sys.exit(str(error) or type(error).__name__)
