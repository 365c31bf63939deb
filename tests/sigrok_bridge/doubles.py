"""sigrok-cli as the tests run it: the real one, with faults that a test asks for."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from busbar.codecs.sigrok import ProgressLog
from sigrok_bridge.program import Ran, SigrokCli

NEED = Path(__file__).parents[2] / ".ci/need"


def installed() -> str:
    """Return the real program; install it where it is missing."""
    subprocess.run([NEED, "sigrok-cli", "sigrok-cli"], check=True)
    found = shutil.which("sigrok-cli")
    assert found is not None
    return found


class Plugged(SigrokCli):
    """The real program, behind a plug; what it has been asked is remembered."""

    def __init__(self) -> None:
        super().__init__(installed())
        self.lines: list[str] = []
        self.unplugged = asyncio.Event()

    async def run(self, arguments: Sequence[str], limit: float, **more: Any) -> Ran:
        self.lines.append(" ".join(arguments))
        if self.unplugged.is_set():
            return ran(1, log="No devices found.")
        running = asyncio.create_task(super().run(arguments, limit, **more))
        pulled = asyncio.create_task(self.unplugged.wait())
        try:
            await asyncio.wait((running, pulled), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                return ran(1, log="No devices found.")
            return await running
        finally:
            for task in (running, pulled):
                task.cancel()
            await asyncio.gather(running, pulled, return_exceptions=True)


class Keeping(Plugged):
    """An instrument that keeps its options, as a scope does and the demo does not.

    Its rate is 0 to 30 Hz. A scan of the driver `mark-N` finds nothing, at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"samplerate": "1", "averaging": "off"}
        self.shown: str | None = None  # what the real one says, asked once
        self.slow = 0.0

    async def run(self, arguments: Sequence[str], limit: float, **more: Any) -> Ran:
        words = list(arguments)
        if self.unplugged.is_set():
            return await super().run(words, limit, **more)
        for word, answer in ANSWERS.items():
            if word in words:
                done = answer(self, words)
                if done is not None:
                    self.lines.append(" ".join(words))
                    return done
        if "--show" in words and "-g" not in words:
            if self.shown is None:
                self.shown = (await super().run(words, limit, **more)).text
            self.lines.append(" ".join(words))
            return ran(0, self._own(self.shown))
        if "--samples" in words and self.slow:
            self.lines.append("slow")
            slept = asyncio.create_task(asyncio.sleep(self.slow))
            pulled = asyncio.create_task(self.unplugged.wait())
            try:
                await asyncio.wait((slept, pulled), return_when="FIRST_COMPLETED")
            finally:
                slept.cancel(), pulled.cancel()
        return await super().run(words, limit, **more)

    def _own(self, text: str) -> str:
        switch = self.kept["averaging"]
        for found in ("off (current)", "on (current)"):
            text = text.replace(
                f"averaging: on, {found}", f"averaging: {_both(switch)}"
            )
        rate = "samplerate (0 Hz - 30 Hz in steps of 1 Hz)"
        text = re.sub(r"samplerate \(.*\)", rate, text)
        return re.sub(
            r"(Channel groups:\n)(    .*\n)+", r"\1    Logic: channels D0\n", text
        )

    def _set(self, words: list[str]) -> Ran | None:
        key, _, value = words[words.index("-c") + 1].partition("=")
        if key not in self.kept:
            return None
        self.kept[key] = value
        return ran(0)

    def _get(self, words: list[str]) -> Ran | None:
        key = words[words.index("--get") + 1]
        return ran(0, self.kept[key] + "\n") if key in self.kept else None

    def _scan(self, words: list[str]) -> Ran | None:
        driver = words[words.index("-d") + 1]
        if driver.startswith("mark-"):
            return ran(0)
        if driver == "many":
            line = "many:conn=1.{} - Maker Analyser with 2 channels: D0 D1\n"
            return ran(0, "".join(map(line.format, range(200))))
        return ran(0, "not what it is\n") if driver == "nonsense" else None


def _both(switch: str) -> str:
    return "on (current), off" if switch in ("on", "true") else "on, off (current)"


ANSWERS: dict[str, Callable[[Keeping, list[str]], Ran | None]] = {
    "--set": Keeping._set,
    "--get": Keeping._get,
    "--scan": Keeping._scan,
}


def ran(code: int, output: str = "", log: str = "") -> Ran:
    """Return a run that ended so."""
    said = ProgressLog()
    said.feed(log.encode())
    said.close()
    return Ran(code, output.encode(), said)
