"""pycrestron-cip as a program: its panel, or its processor.

    python tests/cip_bridge/pycrestron.py FOLDER panel PORT IPID
    python tests/cip_bridge/pycrestron.py FOLDER processor IPID

Each line of standard input is the name of a method and its arguments, as JSON. Each
line of standard output is a join that came; the first one of a processor is its port.
"""

import asyncio
import enum
import inspect
import json
import sys
from typing import Any

KINDS = {"d": "digital", "a": "analog", "s": "serial"}


def _contains(cls: Any, value: object) -> bool:
    """Return whether a value is one of an enumeration, as Python 3.12 has it."""
    return isinstance(value, cls) or value in cls._value2member_map_


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def show(update: Any) -> None:
    say([KINDS[update.type], update.join, update.value])


async def obey(target: Any) -> None:
    """Call what standard input says until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        done = getattr(target, name)(*arguments)
        if inspect.isawaitable(done):
            await done


async def panel(port: str, ipid: str) -> None:
    from pycrestron_cip import CipClient

    client = CipClient("127.0.0.1", int(ipid, 16), port=int(port))
    client.subscribe(show)
    async with client:
        say("ready")
        await obey(client)


async def processor(ipid: str) -> None:
    from pycrestron_cip.testing import FakeProcessor

    async with FakeProcessor({int(ipid, 16)}) as fake:
        fake.on_join = lambda _, update: show(update)
        say(fake.port)
        await obey(fake)


def main() -> None:
    """Run what the command line asks for."""
    folder, role, *arguments = sys.argv[1:]
    sys.path.insert(0, folder)
    enum.EnumType.__contains__ = _contains  # type: ignore[method-assign]  # of 3.12
    asyncio.run({"panel": panel, "processor": processor}[role](*arguments))


if __name__ == "__main__":
    main()
