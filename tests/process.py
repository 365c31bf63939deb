"""A bridge as a real process, for tests with a real broker."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

BENCH = """
bridge: {{name: bench}}
devices:
  - name: psu
    address: tcp::127.0.0.1:{psu}
    timeout: 0.5
    properties:
      - {{path: voltage, query: "MEAS1:VOLT?", every: 0.1, unit: V}}
      - {{path: output, query: "OUTP1?", set: "OUTP1 {{value}}", \
type: boolean, every: 0.1}}
      - {{path: setpoint/voltage, query: "SOUR1:VOLT?", \
set: "SOUR1:VOLT {{value}}", maximum: 30, every: 0.1}}
"""


class BridgeProcess:
    """`python -m scpi_bridge` with a configuration; entered = started, left = gone."""

    def __init__(self, configuration: str, url: str, folder: Path, *extra: str) -> None:
        self.file = folder / "bridge.yaml"
        self.file.write_text(configuration)
        self._log_file = folder / "bridge.log"
        self._command = [
            sys.executable,
            "-m",
            "scpi_bridge",
            "--config",
            str(self.file),
            "--broker",
            url,
            *extra,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        if self._process is not None:
            self._process.wait()
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ}
            )

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
