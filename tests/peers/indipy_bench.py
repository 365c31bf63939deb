"""A driver made with indipydriver, behind indipyserver: python indipy_bench.py PORT.

It takes members as they come, one after the other, as many drivers of this kind do.
"""

import asyncio
import sys

import indipydriver as ipd
from indipyserver import IPyServer

SPEEDS = ("SLOW", "FAST", "MAX")


def speed() -> ipd.SwitchVector:
    members = [
        ipd.SwitchMember(name, membervalue="On" if name == "SLOW" else "Off")
        for name in SPEEDS
    ]
    return ipd.SwitchVector("SPEED", "Speed", "Main", "rw", "OneOfMany", "Ok", members)


def level() -> ipd.NumberVector:
    member = ipd.NumberMember("VALUE", "Level (V)", "%.2f", 0, 10, 0.5, 1)
    return ipd.NumberVector("LEVEL", "Level", "Main", "rw", "Ok", [member])


def interlock() -> ipd.SwitchVector:
    member = ipd.SwitchMember("OPEN", membervalue="Off")
    return ipd.SwitchVector(
        "SHUTTER", "Shutter", "Main", "rw", "AtMostOne", "Idle", [member]
    )


class Bench(ipd.IPyDriver):
    """One device; the shutter is interlocked, the level is limited to 5."""

    async def rxevent(self, event: ipd.events.newSwitchVector) -> None:
        vector = event.vector
        if event.vectorname == "LEVEL":
            vector["VALUE"] = min(float(event["VALUE"]), 5.0)
            await vector.send_setVector(state="Ok")
        elif event.vectorname == "SPEED":
            for name, value in event.items():
                vector[name] = value
            await vector.send_setVector(state="Ok")
        elif event.vectorname == "SHUTTER":
            device = self["Bench"]
            await device.send_device_message("[ERROR] The interlock is open")
            await vector.send_setVector(state="Idle")


async def main(port: int) -> None:
    """Serve until the end of the process."""
    device = ipd.Device("Bench", [speed(), level(), interlock()])
    server = IPyServer(Bench(device), host="127.0.0.1", port=port)
    await server.asyncrun()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
