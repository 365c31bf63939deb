"""docs/faults.md: one line for each fault, made by the run."""

import importlib.metadata
import platform
import re
import subprocess
from collections import defaultdict
from pathlib import Path

from tests.broker import find

FILE = Path(__file__).parents[2] / "docs" / "faults.md"
GROUPS = ("Broker", "Device", "Host", "Input")

HEAD = """\
# Faults, and what became of them

Every line is a test in [`tests/faults`](../tests/faults/) that breaks something on \
purpose, on a real Mosquitto, and
holds the [contract](contract.md) against it: nothing is lost unnoticed, memory stays \
bounded, nobody has to help
afterwards. The figures are those of one run and no promises; the promise \
stands beside them. Made by
`pytest tests/faults --write-faults` with {versions}.
"""


class Table:
    """The rows of one run, in groups by the word that follows `test_` in the name of
    the module."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        self._broken: list[str] = []

    def add(self, module: str, fault: str, promise: str, figure: str) -> None:
        self._rows[_group(module)].append((fault, promise, figure))

    def broken(self, module: str, test: str) -> None:
        line = f"{_group(module)}: {test.replace('_', ' ').removeprefix('test ')}"
        if line not in self._broken:
            self._broken.append(line)

    def text(self) -> str:
        """Return the page."""
        parts = [HEAD.format(versions=versions())]
        for group in GROUPS:
            rows = "\n".join(
                f"| {' | '.join(map(_cell, row))} |" for row in self._rows[group]
            )
            parts.append(
                f"## {group}\n\n| fault | promise | this run |\n|---|---|---|\n{rows}\n"
            )
        if self._broken:
            parts.append(
                "## Not held\n\n"
                + "\n".join(f"- {each}" for each in self._broken)
                + "\n"
            )
        return "\n".join(parts)


def versions() -> str:
    """Name what the run was made with."""
    said = subprocess.run(
        [find("mosquitto"), "-h"], capture_output=True, text=True, check=False
    ).stdout
    mosquitto = re.search(r"version (\S+)", said)
    ours = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("busbar-mqtt", "paho-mqtt", "msgspec")
    )
    return (
        f"Mosquitto {mosquitto[1] if mosquitto else '?'}, Python "
        f"{platform.python_version()}, {ours}"
    )


def _group(module: str) -> str:
    return module.split("_")[1].capitalize()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
