"""An example that runs for ever ends with Ctrl-C, and without a word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.broker import Mosquitto
from tests.cli.command import LIMIT

EXAMPLE = Path(__file__).parents[2] / "examples" / "python" / "every_ten_seconds.py"


def test_every_ten_seconds_ends_quietly() -> None:
    with Mosquitto() as broker:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE)],
            env={**os.environ, "BUSBAR_URL": broker.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("not set: unknown")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
