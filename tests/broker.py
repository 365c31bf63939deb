"""A private Mosquitto for tests that need a real broker."""

import os
import random
import re
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

LOOPBACK = Path(__file__).parent.parent / "mosquitto" / "loopback.conf"

_LISTENER = re.compile(r"^listener .*$", re.MULTILINE)
_LIMIT = 60.0  # s; generous, only a broken broker needs it


class Mosquitto:
    """One broker on 127.0.0.1: running when entered, gone when left.

    `configuration` is the text of a configuration file; its first listener moves to our
    port, and it gets one if it has none. `extra` lines follow, so they can change an
    option or complete the listener.
    """

    def __init__(self, *extra: str, configuration: str | None = None) -> None:
        self.port = free_port()
        # while entered: the configuration, the log, what it persists
        self.directory: Path
        self._text = LOOPBACK.read_text() if configuration is None else configuration
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(
                stack.enter_context(TemporaryDirectory(prefix="busbar-mosquitto-"))
            )
            stack.callback(self.stop)
            self.start()
            self._resources = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything it has written since it was entered, across restarts."""
        path = self.directory / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """Raise RuntimeError unless it runs."""
        if self._process is None:
            raise RuntimeError("the broker does not run")
        return self._process.pid

    def start(self) -> None:
        """Return once it accepts connections.

        Raise RuntimeError with its log if it does not.
        """
        if self._process is not None:
            raise RuntimeError("the broker runs already")
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text(self._configuration())
        with (self.directory / "mosquitto.log").open("ab") as log:
            command = [find("mosquitto"), "-c", str(configuration)]
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log
            )
        try:
            self._wait_until_it_accepts(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it as a service manager would (SIGTERM).

        Nothing to do if it does not run.
        """
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_LIMIT)
            finally:
                self.kill()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL); nothing to do if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it if it runs and start it again on the same port."""
        self.stop()
        self.start()

    def _configuration(self) -> str:
        listener = f"listener {self.port} 127.0.0.1"
        text, replaced = _LISTENER.subn(listener, self._text, count=1)
        lines = [text, *([] if replaced else [listener]), *self._extra]
        if os.geteuid() == 0:
            # Started by root it becomes the user mosquitto, who may not read what a
            # test has written.
            lines.append("user root")
        return "\n".join(lines) + "\n"

    def _wait_until_it_accepts(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _LIMIT
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"mosquitto does not serve port {self.port}: {self.log}")


def find(program: str) -> str:
    """Return the path of a program that Debian may have put where only root looks.

    Raise FileNotFoundError.
    """
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError(f"{program} is not installed")
    return found


def free_port() -> int:
    """Return a free TCP port on 127.0.0.1 that the kernel gives to nobody.

    It lies below the range of outgoing connections: a client that tries again and again
    while the broker is away would else be connected to itself one day, and keep the
    broker from coming back.
    """
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
