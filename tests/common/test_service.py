"""The command line of every bridge: broker, exit code, what the log looks like."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from busbar.config import loader
from busbar.errors import ConfigError
from busbar.link.session import Link
from busbar.runtime.service import EXIT_CONFIG, Service, plan, run
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.process import BENCH, BridgeProcess
from tests.toy import Toy, service


def planned(
    text: str, url: str | None = None, environment: dict[str, str] | None = None
) -> str:
    parsed = loader.parse(text, service(Toy()).config, {})
    return plan(service(Toy()), parsed, url, environment or {}).endpoint.url


def test_the_broker_is_of_argument_environment_file_or_ours_in_this_order() -> None:
    file = "bridge: {name: lab}\nbroker: {url: 'mqtt://file'}\n"
    assert (
        planned(file, "mqtt://argument", {"BUSBAR_URL": "mqtt://environment"})
        == "mqtt://argument"
    )
    assert (
        planned(file, None, {"BUSBAR_URL": "mqtt://environment"})
        == "mqtt://environment"
    )
    assert planned(file) == "mqtt://file"
    assert planned("bridge: {name: lab}\n") == "mqtt://127.0.0.1:1883"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a", "a"], "two devices are named 'a'"),
        (["bridge"], "cannot be named 'bridge'"),
    ],
)
def test_names_of_devices_are_unique_and_not_that_of_the_bridge(
    names: Sequence[str], complaint: str
) -> None:
    toy = service(Toy())
    links = [
        Link(f"link{number}", "", None, {name: None})
        for number, name in enumerate(names)
    ]  # type: ignore[arg-type, dict-item]  # only the names count
    doubled = Service("toy", toy.config, lambda _settings: links)
    with pytest.raises(ConfigError, match=complaint):
        plan(doubled, loader.parse("bridge: {name: lab}\n", toy.config, {}), None, {})


def test_a_wrong_configuration_ends_with_its_own_exit_code_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("bridge:\n  nme: lab\n")
    assert run(service(Toy()), ["--config", str(file), "--check"]) == EXIT_CONFIG
    assert f"{file}:2:3: bridge.nme: unknown key" in capsys.readouterr().err
    file.write_text("bridge: {name: lab}\n")
    assert run(service(Toy()), ["--config", str(file), "--check"]) == 0
    assert "toy bridge 'lab', 1 devices" in capsys.readouterr().out
    assert (
        run(service(Toy()), ["--config", str(file), "--check", "--broker", "http://x"])
        == EXIT_CONFIG
    )
    assert "allowed are mqtt://host" in capsys.readouterr().err


def test_a_link_that_cannot_be_opened_as_configured_is_found_by_a_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = service(Toy())
    broken = Link("a", "", None, {"a": None}, problem="list.dbc:3:1: what is this?")  # type: ignore[arg-type, dict-item]  # not opened
    file = tmp_path / "lab.yaml"
    file.write_text("bridge: {name: lab}\n")
    assert (
        run(
            Service("toy", toy.config, lambda _settings: [broken]),
            ["--config", str(file), "--check"],
        )
        == EXIT_CONFIG
    )
    assert capsys.readouterr().err == "list.dbc:3:1: what is this?\n"


def test_files_that_cannot_be_used_are_found_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        "bridge: {name: lab}\n"
        "broker: {url: 'mqtts://127.0.0.1:1', ca_file: nowhere.crt}\n"
    )
    assert run(service(Toy()), ["--config", str(file), "--check"]) == EXIT_CONFIG
    assert "nowhere.crt" in capsys.readouterr().err
    file.write_text("bridge: {name: lab, folder: nowhere}\n")
    assert run(service(Toy()), ["--config", str(file)]) == EXIT_CONFIG
    assert "there is no folder" in capsys.readouterr().err


async def test_a_trace_shows_every_message_both_ways_without_secrets(
    tmp_path: Path,
) -> None:
    secret = "correct horse"
    with Mosquitto() as broker:
        async with Simulator() as simulator:
            text = BENCH.format(psu=simulator.psu.port).replace(
                "OUTP1?", f"OUTP1?;*IDN? {secret}"
            )
            settings = text + f"broker: {{username: bench, password: '{secret}'}}\n"
            trace = ["--log-level", "trace", "--log-format", "json"]
            with BridgeProcess(settings, broker.url, tmp_path, *trace) as bridge:
                await until(
                    lambda: "OUTP1?" in bridge.log and "<- busbar/bench" in bridge.log,
                    "the trace",
                )
                records = [json.loads(line) for line in bridge.log.splitlines()]
                wire = [
                    r["message"] for r in records if r["logger"] == "busbar.wire.psu"
                ]
                assert "-> '*IDN?\\n'" in wire
                assert any(message.startswith("<- 'BUSBAR,PSU-SIM") for message in wire)
                assert any("OUTP1?;*IDN? ***" in message for message in wire)
                assert secret not in bridge.log


async def test_systemd_is_told_of_readiness_and_fed(tmp_path: Path) -> None:
    toy_program = tmp_path / "toy.py"
    toy_program.write_text(
        "import sys\nfrom busbar.bridge import run\n"
        "from tests.toy import Toy, service\n"
        "sys.exit(run(service(Toy())))\n"
    )
    settings = tmp_path / "lab.yaml"
    settings.write_text("bridge: {name: lab}\n")
    heard: list[bytes] = []

    class Manager(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    socket = str(tmp_path / "notify")
    transport, _ = await loop.create_datagram_endpoint(
        Manager, socket_address(socket), family=1
    )
    root = Path(__file__).parents[2]
    environment = {
        "NOTIFY_SOCKET": socket,
        "WATCHDOG_USEC": "200000",
        "PYTHONPATH": str(root),
        "PATH": "/usr/bin:/bin",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(toy_program),
        "--config",
        str(settings),
        "--broker",
        "mqtt://127.0.0.1:1",
        env=environment,
    )
    try:
        await until(
            lambda: b"READY=1" in heard and heard.count(b"WATCHDOG=1") >= 3,
            "readiness and food",
        )
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        await until(lambda: b"STOPPING=1" in heard, "the end")
    finally:
        transport.close()


def socket_address(path: str) -> tuple[str, int]:
    return path  # type: ignore[return-value]  # a path for AF_UNIX
