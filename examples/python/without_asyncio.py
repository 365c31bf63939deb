"""The same in a script without asyncio: a callback on a thread, a lock, a command."""

import time

from busbar.client import Change
from busbar.client.blocking import Client


def show(change: Change) -> None:
    print(change.device, change.path, change.value, flush=True)


with Client() as bus:  # the broker is BUSBAR_URL, else this machine
    psu = bus.device("bench/psu")
    psu.wait_online(timeout=10)
    psu.subscribe("setpoint/voltage", show)
    with psu.lock(owner="script"):  # nobody else commands it meanwhile
        for volts in (1.0, 2.0, 3.0):
            psu.set("setpoint/voltage", volts)
            time.sleep(0.5)
    print("it says", psu.call("query", "*IDN?"))
