"""What the command line says of devices that are not there, not online, or named
otherwise; of a broker that cannot be reached; and that a device cannot forge lines."""

import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from busbar.cli.output import Output
from busbar.contract import messages
from busbar.contract.messages import Fault, Status
from tests.broker import Mosquitto, find, free_port
from tests.certificates import self_signed
from tests.cli.command import Done, busbar, ended, start
from tests.crowd import crowd, retain


class Shelf:
    """A broker with what bridges that do not run have left there."""

    def __init__(self, broker: Mosquitto) -> None:
        self.broker = broker
        self.retained = crowd(2, 2)
        retain(broker.port, self.retained)

    def __call__(self, *arguments: str) -> Done:
        return busbar(*arguments, "-b", self.broker.url)

    def change(self, topic: str, **fields: Any) -> None:
        """Change members of a payload that is retained."""
        before = msgspec.json.decode(self.retained[f"busbar/{topic}"])
        payload = messages.encode({**before, **fields})
        retain(self.broker.port, {f"busbar/{topic}": payload})


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Mosquitto() as broker:
        yield Shelf(broker)


# Devices that cannot be used are not online.


def offline(shelf: Shelf) -> None:
    """The broker has published the will of b1."""
    will = Status("offline", 1.0, "b1", 1, 0, Fault("offline", "gone"))
    payload = messages.encode(will)
    retain(shelf.broker.port, {"busbar/b1/bridge/status": payload})


def unknown(shelf: Shelf) -> None:
    """Somebody has removed what is retained of b1 itself."""
    topics = ("status", "info", "state")
    retain(shelf.broker.port, {f"busbar/b1/bridge/{each}": b"" for each in topics})


@pytest.mark.parametrize(
    ("happened", "state"), [(offline, "offline"), (unknown, "unknown")]
)
def test_a_device_is_not_online_without_its_bridge(
    shelf: Shelf, happened: Any, state: str
) -> None:
    happened(shelf)
    rows = {row["device"]: row["state"] for row in shelf("ls", "--json").json}
    assert rows["b0/d0000"] == "online"
    assert rows["b1/d0000"] == rows["b1/d0001"] == state
    assert "online" not in shelf("ls", "b1").out
    assert shelf("show", "--json", "b1/d0000").json["state"] == state
    assert "online" not in shelf("show", "b1/d0000").out


def test_a_bridge_that_goes_takes_its_devices_along_in_ls_watch(shelf: Shelf) -> None:
    process = start("ls", "-w", "-n", "3", "-b", shelf.broker.url, "b1")
    assert process.stdout is not None
    for _ in range(3):
        assert "online" in process.stdout.readline()
    offline(shelf)
    rest, _ = process.communicate(timeout=60)
    states = {tuple(line.split()[:2]) for line in rest.splitlines()}
    assert states == {
        (f"b1/{name}", "offline") for name in ("bridge", "d0000", "d0001")
    }


# What is not there.


@pytest.mark.parametrize("command", ["watch", "events"])
def test_a_misspelt_device_is_told_at_once_with_near_names(
    shelf: Shelf, command: str
) -> None:
    done = shelf(command, "b1/d001", "--for", "0")
    first, second = done.err.splitlines()
    assert first == "there is no device b1/d001 (now); waiting"
    assert second.startswith("did you mean 'b1/d000")
    assert done.code == 0
    done = shelf(command, "*/psu", "--for", "0")
    assert done.err.startswith("no device fits */psu (now); waiting\n")


def test_a_misspelt_event_is_told_at_once(shelf: Shelf) -> None:
    done = shelf("events", "b1/d0000", "chnge", "--for", "0")
    assert done.err.startswith(
        "no event of b1/d0000 fits 'chnge' (now); waiting; did you mean 'change'?"
    )
    assert done.err.count("\n") == 1
    assert shelf("events", "b1/d0000", "change", "--for", "0").err == ""


def test_log_says_that_there_is_no_such_bridge(shelf: Shelf) -> None:
    done = shelf("log", "b3", "--for", "0")
    assert done.err == "there is no bridge b3 (now); waiting\n"


def test_a_device_that_is_not_there_comes_with_near_names(shelf: Shelf) -> None:
    done = shelf("get", "b1/d001")
    assert done.code == 3
    assert "there is no device b1/d001" in done.err
    assert "did you mean 'b1/d000" in done.err


def test_another_root_is_named(shelf: Shelf) -> None:
    done = shelf("ls", "--root", "lab")
    assert (done.code, done.out) == (2, "")
    assert "nothing below the root 'lab'; there are bridges below: busbar" in done.err


def test_an_empty_broker_is_no_error_and_comes_with_the_next_step() -> None:
    with Mosquitto() as broker:
        done = busbar("ls", "-b", broker.url)
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no devices; is a bridge running")


def test_a_pattern_that_nothing_fits_comes_with_what_there_is(shelf: Shelf) -> None:
    done = shelf("ls", "b9")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no device fits b9/*; ")
    assert "b1/d0001" in done.err


# Names and patterns as people write them.


def test_names_of_the_device_itself_are_accepted(shelf: Shelf) -> None:
    about = {"schema": {"type": "integer"}, "access": "rw", "original": "EOD COORD.x"}
    shelf.change("b1/d0000/info", name="Scope (1)", properties={"v0": about})
    assert shelf("get", "b1/Scope (1)", "EOD COORD.x").out == "0\n"
    told = shelf("get", "b1/Scope (1)", "--json").json
    assert (told["device"], list(told["values"])) == ("b1/d0000", ["v0"])
    name = "Telescope Simulator"
    info = msgspec.json.decode(shelf.retained["busbar/b1/d0001/info"])
    for channel in ("status", "info", "state"):
        payload = shelf.retained[f"busbar/b1/d0001/{channel}"]
        if channel == "info":
            payload = messages.encode({**info, "device": "Telescope_Simulator"})
        topic = f"busbar/b1/Telescope_Simulator/{channel}"
        retain(shelf.broker.port, {topic: payload})
    assert shelf("get", f"b1/{name}", "v0").out == "1\n"
    done = shelf("get", "b1/Nobody's Simulator", "v0")
    assert done.code == 3
    assert "there is no device b1/Nobody's Simulator" in done.err
    assert shelf("watch", f"b1/{name}", "v0", "-n", "1").code == 0


@pytest.mark.parametrize("any_", ["*", "+"])
def test_there_is_one_dialect_of_wildcards(shelf: Shelf, any_: str) -> None:
    done = shelf("watch", f"{any_}/d0001", any_, "-n", "2", "--json")
    assert {row["device"] for row in done.lines} == {"b0/d0001", "b1/d0001"}
    assert shelf("events", f"b1/{any_}", any_, "--for", "0").err == ""
    done = shelf("watch", "b1", f"v{any_}")
    assert done.code == 2
    assert "or * (or +) for any" in done.err


def test_the_help_of_completion_has_a_line_for_each_shell() -> None:
    lines = busbar("completion", "--help").out.splitlines()
    assert '  bash   eval "$(busbar completion bash)"        in ~/.bashrc' in lines
    assert not any("\\b" in line or "\b" in line for line in lines)


# The broker cannot be reached: the next step.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(certificate: tuple[str, str]) -> Iterator[Mosquitto]:
    cert, key = certificate
    with Mosquitto(f"certfile {cert}", f"keyfile {key}") as broker:
        yield broker


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    passwords = tmp_path_factory.mktemp("passwords") / "passwords"
    command = [find("mosquitto_passwd"), "-b", "-c", str(passwords), "ada", "right"]
    subprocess.run(command, check=True, timeout=60)
    with Mosquitto("allow_anonymous false", f"password_file {passwords}") as broker:
        yield broker


def test_the_next_step_after_a_connection_error(
    encrypted: Mosquitto,
    closed: Mosquitto,
    certificate: tuple[str, str],
) -> None:
    def refused(url: str, *options: str) -> str:
        # a process: what fails in TLS leaves its socket to the garbage collector
        done = ended(start("ls", "-b", url, *options))
        assert (done.code, done.out) == (6, "")
        return done.err.partition("; ")[2].strip()

    here, tls = "127.0.0.1", encrypted.port
    for protocol in ("--protocol=5", "--protocol=3.1.1"):
        step = refused(f"mqtt://{here}:{tls}", protocol)
        assert step.startswith("a port with TLS? then mqtts://")
    assert refused(f"mqtts://{here}:{tls}").startswith("--ca-file names the authority")
    assert refused(f"mqtts://localhost:{tls}", "--ca-file", certificate[0]).startswith(
        "the broker's certificate is for another name"
    )
    assert "then mqtt://" in refused(f"mqtts://{here}:{closed.port}")
    assert "--password-file" in refused(closed.url, "-u", "ada")
    assert "is the broker running" in refused(f"mqtt://{here}:{free_port()}")


# Text of devices.

FORGED = "1\nbench/psu  on\x1b[2J\u202e\u2028x\x85\r"
ESCAPED = r"1\nbench/psu  on\x1b[2J\u202e\u2028x\x85\r"


def test_text_of_a_device_stays_on_its_line(shelf: Shelf) -> None:
    shelf.change("b1/d0000/state", values={"v0": FORGED})
    assert shelf("get", "b1/d0000", "v0").out == f"{ESCAPED}\n"
    assert shelf("get", "b1/d0000").out == f"v0  {ESCAPED}\n"
    (line,) = shelf("watch", "b1/d0000", "v0", "-n", "1").out.splitlines()
    assert line.endswith(f"b1/d0000  v0  {ESCAPED}")
    assert len(shelf("show", "b1/d0000").out.split(ESCAPED)) == 2


def test_a_line_of_a_log_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(False)
    output.record({}, "12:00:00", "warning", "bench/psu", FORGED)
    output.note(FORGED)
    output.table(["message"], [[FORGED]])
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"12:00:00  warning  bench/psu  {ESCAPED}",
        "message",
        ESCAPED,
    ]
    assert shown.err == f"{ESCAPED}\n"


def test_the_text_of_an_error_stays_on_its_line(shelf: Shelf) -> None:
    retain(
        shelf.broker.port,
        {
            "busbar/b1/bridge/status": messages.encode(
                Status("offline", 1.0, "b1", 1, 0, Fault("offline", FORGED))
            )
        },
    )
    done = shelf("get", "b1/d0000", "v0")
    assert done.code == 5
    assert done.err.count("\n") == 1
