"""The command `busbar` for tests: in this process, or as a process of its own."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from busbar.cli.main import main
from tests.broker import Mosquitto
from tests.process import BridgeProcess

LIMIT = 60.0  # s; generous, only something broken needs it


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def busbar(*arguments: str, **environment: str) -> Done:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = main(arguments)
    return Done(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Bench:
    broker: Mosquitto
    bridge: BridgeProcess

    @property
    def url(self) -> str:
        return self.broker.url

    def __call__(self, *arguments: str, **environment: str) -> Done:
        return busbar(*arguments, **{"BUSBAR_URL": self.url, **environment})

    def process(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start the command as a process of its own."""
        return start(*arguments, **{"BUSBAR_URL": self.url, **environment})


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "busbar", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Done:
    out, err = process.communicate(timeout=LIMIT)
    return Done(process.returncode, out, err)


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
