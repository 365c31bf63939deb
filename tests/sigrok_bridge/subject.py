"""The sigrok bridge under the contract suite: in this process, on the demo driver."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from busbar.link.session import Link
from busbar.testing.fakes import until
from sigrok_bridge.bridge import SERVICE, linked
from sigrok_bridge.settings import Config
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject
from tests.sigrok_bridge.doubles import Keeping

LAB = """
bridge: {{name: lab}}
broker: {{protocol: {protocol}{more}}}
devices:
  - {{name: analyser, address: demo, every: 0.1}}
  - {{name: scope, address: "demo:analog_channels=1", every: 60}}
"""


class Sigrok(InProcess):
    """An analyser that keeps its options, and another one."""

    def __init__(self, url: str, protocol: str, more: str) -> None:
        self._cli = Keeping()
        self.serve(
            replace(SERVICE, links=self._links),
            LAB.format(protocol=protocol, more=more),
            url,
        )
        super().__init__(
            "lab",
            "analyser",
            "scope",
            "samplerate",
            "averaging",
            "capture",
            "refusing",
            "scan",
            "call/capture",
            ("call/scan", {"driver": "many"}),
            {
                "device": ("call/scan", {"driver": "nosuch"}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": ("call/capture", {"samples": 900, "_timeout": 0.1}),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        """Let somebody turn a knob of the device."""
        text = str(value)
        if isinstance(value, bool):
            text = "on" if value else "off"
        self._cli.kept[path] = text

    def unplug(self) -> None:
        self._cli.unplugged.set()

    async def plug(self) -> None:
        self._cli.unplugged.clear()

    def mark(self, number: int) -> Call:
        return "call/scan", {"driver": f"mark-{number}"}

    def marks(self) -> list[int]:
        words = [line.split() for line in self._cli.lines if "-d mark-" in line]
        return [int(each[1].removeprefix("mark-")) for each in words]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        before = self._cli.lines.count("slow")
        self._cli.slow = seconds or 0.001
        asked = {"samples": 1, "channels": ["D0"], **fields}
        id_ = client.send(self.device, self.slow, asked)
        await until(lambda: self._cli.lines.count("slow") > before, "the start")
        self._cli.slow = 0.0
        return id_

    async def blob(self, client: Client) -> str:
        asked = {"samples": 1, "channels": ["D0"]}
        await client.ask(self.device, "call/capture", asked)
        return "capture"

    def polls(self) -> int:
        count = len(self._polled())
        self._cli.lines.clear()
        return count

    def polled_before(self, number: int) -> int:
        mark = " ".join(("-d", f"mark-{number}", "--scan"))
        return len(self._polled(self._cli.lines.index(mark)))

    def _polled(self, end: int | None = None) -> list[str]:
        return [line for line in self._cli.lines[:end] if line.endswith("--show")]

    def _links(self, settings: Config) -> list[Link]:
        first, second = settings.devices
        return [
            linked(first, lambda: self._cli, first),
            linked(second, Keeping, second),
        ]


@asynccontextmanager
async def sigrok_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The sigrok bridge, not yet started; left = gone."""
    async with ending(Sigrok(url, protocol, more)) as subject:
        yield subject


KIND = Kind(sigrok_bridge, frozenset({"polls"}))
