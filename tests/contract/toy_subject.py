"""The toy under the contract suite, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from busbar.contract.describe import Description, Property
from busbar.contract.names import collisions, level
from busbar.errors import ProtocolError
from busbar.testing.fakes import until
from tests import toy
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

TRAITS = {
    "shared",
    "progress",
    "interrupt",
    "waiting",
    "event",
    "names",
    "trouble",
    "clock",
}


class Toy(InProcess):
    """The toy, in this process."""

    progress = ("call/work", {"seconds": 0})
    interrupt = "call/stop"
    waiting = ("call/wait", {"seconds": 30})

    def __init__(self, url: str, protocol: str, more: str = "") -> None:
        self.toy = toy.Toy()
        text = (
            f"bridge: {{name: lab}}\nshared: true\ntwins: 1\nbroker: "
            f"{{protocol: {protocol}{more}}}\n"
        )
        self.serve(
            replace(toy.service(self.toy), open=lambda settings: None), text, url
        )
        super().__init__(
            "lab",
            "toy",
            "twin1",
            "level",
            "on",
            "reading",
            "refusing",
            "echo",
            "call/work",
            ("call/echo", {"text": "x", "times": 5000}),
            {
                "device": ("set/level", {"_value": 13}),
                "internal": ("call/fail", {}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": ("call/work", {"seconds": 60, "_timeout": 0.01}),
            },
            True,
        )

    def described(self, about: Description) -> Description:
        refusing = replace(toy.PROPERTIES["level"], path="refusing")
        return about.with_(properties={**about.properties, "refusing": refusing})

    def change(self, path: str, value: Any) -> None:
        self.toy.values[path] = value
        for session in self.toy.sessions:
            session.outlet.values({path: value})

    def unplug(self) -> None:
        self.toy.unplug()

    async def plug(self) -> None:
        self.toy.reachable = True

    def mark(self, number: int) -> Call:
        return "call/echo", {"text": f"mark {number}"}

    def marks(self) -> list[int]:
        return [
            int(each.split()[1])
            for each in self.toy.did
            if isinstance(each, str) and each.startswith("mark ")
        ]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        before = self.toy.did.count(("work", seconds))
        id_ = client.send(self.device, self.slow, {"seconds": seconds, **fields})
        await until(lambda: self.toy.did.count(("work", seconds)) > before, "the start")
        return id_

    def discover(self, names: list[str]) -> None:
        paths = {name: level(name) for name in names}
        served = {name: paths[name] for name in names if name not in collisions(paths)}
        found = {
            path: Property(path, str, original=name) for name, path in served.items()
        }
        about = self.outlet.description
        old = [
            path for path, each in about.properties.items() if each.original is not None
        ]
        kept = {
            path: each for path, each in about.properties.items() if path not in old
        }
        self.outlet.describe(about.with_(properties={**kept, **found}))
        self.outlet.values({path: name for name, path in served.items()})

    def trouble(self, path: str) -> None:
        self.outlet.bad([path], ProtocolError("nonsense"))

    def nan(self) -> str:
        self.outlet.values({"reading": float("nan")})
        return "reading"


@asynccontextmanager
async def in_process(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The toy, not yet started; left = gone."""
    async with ending(Toy(url, protocol, more)) as subject:
        yield subject


KIND = Kind(in_process, frozenset(TRAITS))
