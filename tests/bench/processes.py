"""Other processes of a benchmark: they end when the benchmark does, come what may."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.load import Load

LIMIT = 120.0  # s; generous, only a broken run needs it
PATIENCE = 5.0  # s for an end that was asked for
HERE = Path(__file__).parent.parent.parent


def subject(role: str, url: str, load: Load) -> dict[str, float]:
    """Run a role of `subject` to its end; return what it measured."""
    with started(python("subject", role, url, json.dumps(asdict(load)))) as process:
        return finished(process)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command of a module of this package."""
    return [sys.executable, "-m", f"tests.bench.{module}", *arguments]


@contextmanager
def started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a command.

    It is stopped when the block is left, as a service manager would stop it.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd=HERE
    ) as process:
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def ready(process: "subprocess.Popen[str]") -> None:
    """Wait until a process says `ready`; raise RuntimeError if it ends instead."""
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{process.args} did not get ready")


def ask(process: "subprocess.Popen[str]", *words: Any) -> Any:
    """Say a line to a process and return the JSON that it answers.

    Raise RuntimeError if it has ended.
    """
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(" ".join(map(str, words)) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{process.args} has ended")
    return json.loads(answer)


def finished(process: "subprocess.Popen[str]") -> Any:
    """Wait for the end of a process.

    Return the JSON it printed, raise RuntimeError if it failed.
    """
    output, _ = process.communicate(timeout=LIMIT)
    if process.returncode:
        raise RuntimeError(f"{process.args} failed with {process.returncode}")
    return json.loads(output)
