"""`busbar demo` as a new user meets it.

A process of its own, the printed commands, and nothing left behind.
"""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from busbar.cli.demo import processes, run, screen, tour
from tests.broker import LOOPBACK, free_port

LIMIT = 60.0  # s; generous, only something broken needs it
SCREEN = 4000  # characters of a line: two screens of 25 lines of 80
COMMON = Path(__file__).parents[2] / "common"


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """False for a zombie too.

    Who adopts the children of a killed demo need not look at them at once.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    return False


class Shell:
    """`sh -c COMMAND` or another program with its output in a file.

    Entered = started, left = its group is gone.
    """

    def __init__(self, file: Path, *command: str, **variables: str) -> None:
        self._file, self._command, self._variables = file, command, variables

    def __enter__(self) -> "Shell":
        environment = {**os.environ, **self._variables}
        with self._file.open("wb") as out, self._error.open("wb") as error:
            self.process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def _error(self) -> Path:
        return self._file.with_suffix(".error")

    @property
    def text(self) -> str:
        return self._file.read_text()

    @property
    def error(self) -> str:
        return self._error.read_text()

    def says(self, text: str, after: int = 0) -> int:
        """Wait until it has said this, and return where."""
        until(
            lambda: text in self.text[after:] or self.process.poll() is not None,
            repr(text),
        )
        assert text in self.text[after:], f"{self.text}\n{self.error}"
        return self.text.index(text, after)


class Demo(Shell):
    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.port = free_port()
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        command = (
            sys.executable,
            "-m",
            "busbar",
            "demo",
            "--port",
            str(self.port),
            *arguments,
        )
        super().__init__(
            folder / "demo.txt", *command, TMPDIR=str(self.temporary), **variables
        )

    def is_ready(self) -> None:
        self.says("From here on")

    @property
    def commands(self) -> list[str]:
        return re.findall(r"^\d\. .+\n    (.+)$", self.text, re.MULTILINE)

    @property
    def children(self) -> list[int]:
        return [
            int(each.parent.name)
            for each in Path("/proc").glob("[0-9]*/stat")
            if self._is_parent_of(each)
        ]

    @property
    def ports(self) -> list[int]:
        return [
            self.port,
            *map(int, re.findall(r"127\.0\.0\.1:(\d+)\S* +online", self.text)),
        ]

    def leaves_nothing(self, children: list[int], killed: bool = False) -> None:
        bridges = len(entry_points(group="busbar.bridges"))
        # the broker; a bridge and its simulator each
        assert len(children) == 1 + 2 * bridges
        assert len(self.ports) > bridges
        until(lambda: not any(map(alive, children)), "the end of all children")
        for port in self.ports:
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", port)) != 0
        left = [each.name for each in self.temporary.iterdir()]
        # a simulator that is killed cannot remove the folder that it needs for a device
        if killed:
            left = [
                name
                for name in left
                if not name.startswith(("can-simulator-", "busbar-pwm-", "busbar-hid-"))
            ]
        assert left == []

    def _is_parent_of(self, stat: Path) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            return (
                int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid
            )
        return False


def sh(command: str) -> str:
    return subprocess.run(
        ["sh", "-c", command], check=True, capture_output=True, text=True, timeout=LIMIT
    ).stdout


def test_every_device_is_online_and_every_printed_command_does_what_it_says(
    tmp_path: Path,
) -> None:
    with Demo(tmp_path / "demo") as running:
        running.is_ready()
        assert re.findall(r"^(bench/\w+) .* online$", running.text, re.MULTILINE) == [
            "bench/bridge",
            "bench/dmm",
            "bench/psu",
        ]
        assert "\x1b" not in running.text
        (show,) = re.findall(r"^    (\S+busbar -b \S+ ls)$", running.text, re.MULTILINE)
        assert "bench/psu" in sh(show)
        everything, set_, query, lock, kill = running.commands
        assert all(
            f"-p {running.port} " in command
            for command in (everything, set_, query, lock)
        )
        with Shell(tmp_path / "everything.txt", "sh", "-c", everything) as listener:
            listener.says("busbar/bench/psu/state/output ")
            sh(set_)
            listener.says('"target":"set","ok":true')
            listener.says("busbar/bench/psu/state/setpoint/voltage 5")
            assert "PSU-SIM" in json.loads(sh(query))["result"]
            assert json.loads(sh(lock))["result"]["lease"]
            sh(set_)
            listener.says('"code":"locked"')
            longest = max(listener.text.splitlines(), key=len)
            assert len(longest) < SCREEN, longest
            sh(kill)
            offline = running.says("bench/psu: offline")
            again = running.says("the scpi simulator runs again", offline)
            running.says("bench/psu: online", again)
            running.says("bench/dmm: online", again)
        (pid,) = re.findall(r"`kill (\d+)`", running.text)
        assert int(pid) in running.children


def interrupt_group(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does


def terminate(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()


@pytest.mark.parametrize("end", [interrupt_group, terminate])
def test_a_signal_ends_everything_in_order_and_leaves_nothing(
    tmp_path: Path, end: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    with Demo(tmp_path / "demo") as running:
        running.is_ready()
        children = running.children
        with Shell(
            tmp_path / "status.txt", "sh", "-c", running.commands[0]
        ) as listener:
            listener.says("busbar/bench/bridge/status")
            end(running.process)
            assert running.process.wait(LIMIT) == 0
            for device in ("psu", "dmm", "bridge"):
                listener.says(f'busbar/bench/{device}/status {{"state":"stopped"')
        # the bridges went first, the simulators later
        assert '"state":"offline"' not in listener.text
        running.leaves_nothing(children)
        assert running.error == ""


def test_it_ends_by_itself_after_the_given_time(tmp_path: Path) -> None:
    with Demo(tmp_path / "demo", "--for", "2") as running:
        running.is_ready()
        children = running.children
        assert running.process.wait(LIMIT) == 0
        running.leaves_nothing(children)


def test_it_leaves_nothing_when_it_is_killed(tmp_path: Path) -> None:
    with Demo(tmp_path / "demo") as running:
        running.is_ready()
        children = running.children
        running.process.kill()
        assert running.process.wait(LIMIT) == -signal.SIGKILL
        running.leaves_nothing(children, killed=True)


def test_a_signal_while_it_starts_ends_it_too(tmp_path: Path) -> None:
    with Demo(tmp_path / "demo") as running:
        until(lambda: running.children, "the first child")
        children = running.children
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(LIMIT) == 0
        until(lambda: not any(map(alive, children)), "the end of all children")
        assert running.error == ""


@pytest.mark.parametrize(
    ("program", "name"),
    [("scpi_bridge\0", "the scpi bridge"), ("mosquitto", "the broker")],
)
def test_a_bridge_or_broker_that_dies_ends_it_with_the_log(
    tmp_path: Path, program: str, name: str
) -> None:
    with Demo(tmp_path / "demo") as running:
        running.is_ready()
        children = running.children
        (victim,) = (
            pid
            for pid in children
            if program in Path(f"/proc/{pid}/cmdline").read_text()
        )
        os.kill(victim, signal.SIGKILL)
        assert running.process.wait(LIMIT) == 1
        assert (
            f"{name} has ended unexpectedly\nthe last lines of {name}:\n    "
        ) in running.error
        running.leaves_nothing(children)


def test_who_does_not_come_online_is_named_with_its_log_and_nobody_else(
    tmp_path: Path,
) -> None:
    package = tmp_path / "site" / "mute_bridge"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "example.yaml").touch()
    (package / "simulator.py").write_text(
        "import time\nprint('{}', flush=True)\ntime.sleep(3600)\n"
    )
    (package / "__main__.py").write_text(
        "import time\nprint('cannot find my voice', flush=True)\ntime.sleep(3600)\n"
    )
    metadata = tmp_path / "site" / "mute_bridge-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mute-bridge\nVersion: 1\n"
    )
    (metadata / "entry_points.txt").write_text("[busbar.bridges]\nmute = mute_bridge\n")
    script = (
        f"import sys; from busbar.cli.demo import run; run.LIMIT = 5; "
        f"sys.exit(run.run(None, {free_port()}))"
    )
    with Shell(
        tmp_path / "out.txt",
        sys.executable,
        "-c",
        script,
        PYTHONPATH=str(tmp_path / "site"),
    ) as running:
        assert running.process.wait(LIMIT) == 1
    expected = """\
        busbar demo: not everything is online within 5 s
        the last lines of the mute bridge:
            cannot find my voice
        """
    assert running.error == dedent(expected)


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as server:
        # connections of before may linger
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it, which is as good
            server.bind(("127.0.0.1", port))
            server.listen()
        yield


def test_without_a_wish_another_port_is_found_when_1883_is_taken() -> None:
    with taken(1883):
        assert processes.choose_port(None) != 1883


def test_a_wanted_port_that_is_taken_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    with taken(port):
        assert run.run(0, port) == 1
    assert f"port {port} is in use" in capsys.readouterr().err


def test_without_a_bridge_it_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "entry_points", lambda **_: [])
    assert run.run(0, free_port()) == 1
    assert "pip install ./services/scpi-bridge" in capsys.readouterr().err


def test_without_mosquitto_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes.shutil, "which", lambda *_, **__: None)
    assert run.run(0, free_port()) == 1
    assert "sudo apt-get install mosquitto mosquitto-clients" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_on(stream: io.StringIO) -> str:
    shown = screen.Screen(stream)
    shown.live("waiting")
    shown.line(shown.paint("online", "good"))
    return stream.getvalue()


def test_a_terminal_gets_colour_and_a_live_line_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (
        shown_on(Terminal()) == "\r\x1b[Kwaiting\r\x1b[K\x1b[32monline\x1b[0m\nwaiting"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown_on(Terminal()) == "\r\x1b[Kwaiting\r\x1b[Konline\nwaiting"
    assert shown_on(io.StringIO()) == "online\n"


def test_devices_without_anything_to_set_or_to_ask_get_five_commands_too() -> None:
    info: dict[str, Any] = {
        "contract": 1,
        "revision": 1,
        "properties": {},
        "commands": {},
        "events": {},
        "blobs": {},
    }
    described = tour.Info(
        bridge="line", device="relay", kind="modbus", boot="0", **info
    )
    commands = tour.examples(1883, {("line", "relay"): described}, {"modbus": 42}, 5)
    assert [each.command for each in commands] == [
        "mosquitto_sub -p 1883 -v -t 'busbar/#' -T 'busbar/+/+/info' "
        "-T 'busbar/+/+/state' -T 'busbar/+/+/blob/#'",
        "mosquitto_pub -p 1883 -t busbar/line/relay/call/refresh -m '{}'",
        (
            "mosquitto_rr -p 1883 -t busbar/line/bridge/call/list -m '{}' -e "
            "busbar/reply/demo"
        ),
        "mosquitto_rr -p 1883 -t busbar/line/relay/call/lock "
        """-m '{"ttl": 20, "owner": "me"}' -e busbar/reply/demo""",
        "kill 42",
    ]


def test_a_wheel_brings_the_broker_configuration_of_the_repository(
    tmp_path: Path,
) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(COMMON),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=LIMIT)
    (wheel,) = tmp_path.glob("*.whl")  # made from the sdist
    with zipfile.ZipFile(wheel) as archive:
        assert (
            archive.read("busbar/cli/demo/loopback.conf").decode()
            == LOOPBACK.read_text()
        )
