"""A real Node-RED for tests.

On 127.0.0.1, with a folder of its own, driven through its admin API.
"""

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.testing.fakes import until
from tests import npm
from tests.broker import find, free_port
from tests.examples.programs import LIMIT, Output, output

SETTINGS = {
    "uiHost": "127.0.0.1",
    "flowFile": "flows.json",
    "credentialSecret": False,
    "disableEditor": True,
    "telemetry": {"enabled": False, "updateNotification": False},
    "externalModules": {
        "autoInstall": False,
        "palette": {"allowInstall": False},
        "modules": {"allowInstall": False},
    },
    "editorTheme": {"projects": {"enabled": False}, "tours": False},
    "functionExternalModules": False,
}


UNEASY = re.compile(r"\[(warn|error|fatal)\]|Error: ")


class NodeRed:
    """`text` is its log, with what debug nodes write to the console."""

    def __init__(self, port: int, text: Output) -> None:
        self.text = text
        self._url = f"http://127.0.0.1:{port}"
        self._flows: list[dict[str, Any]] = []
        self._deployed = 0

    async def deploy(self, flows: list[dict[str, Any]], *expected: str) -> None:
        """Import flows and start them.

        Return when the log says that they run, and what else is expected.
        """
        self._flows, self._deployed = flows, len(self.text)
        await self._ask("/flows", json.dumps({"flows": flows}).encode())
        await self.text.says("Started flows", *expected, after=self._deployed)

    async def press(self, name: str) -> int:
        """Press the button of an inject node; return how much was written before."""
        [node] = [
            each["id"]
            for each in self._flows
            if each["type"] == "inject" and each["name"] == name
        ]
        before = len(self.text)
        await self._ask(f"/inject/{node}", b"{}")
        return before

    @property
    def complaints(self) -> list[str]:
        """The lines of the log since the flows were deployed that are no plain
        information."""
        return [
            line
            for line in self.text[self._deployed :].decode().splitlines()
            if UNEASY.search(line)
        ]

    async def serves(self) -> bool:
        try:
            await self._ask("/flows")
        except OSError:
            return False
        return True

    async def _ask(self, path: str, body: bytes | None = None) -> None:
        headers = {"Node-RED-API-Version": "v2", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, body, headers)

        def answered() -> None:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                answer.read()

        await asyncio.to_thread(answered)


@asynccontextmanager
async def node_red(folder: Path, **environment: str) -> AsyncIterator[NodeRed]:
    """Entered = it serves its admin API and has no flows; left = gone."""
    port = free_port()
    async with output(*_command(folder, port), **environment) as text:
        running = NodeRed(port, text)
        await until(running.serves, "Node-RED", LIMIT)
        # it serves before; what is deployed then would be started twice
        await text.says("Started flows")
        yield running


def _command(folder: Path, port: int) -> list[str]:
    folder.mkdir()
    settings = folder / "settings.js"
    settings.write_text(
        f"module.exports = {json.dumps({**SETTINGS, 'uiPort': port})};\n"
    )
    program = npm.modules("node-red") / "node-red" / "red.js"
    return [
        find("node"),
        str(program),
        "--userDir",
        str(folder),
        "--settings",
        str(settings),
    ]
