"""The library and one bridge, built as wheels and installed alone into an empty
environment, run against a broker."""

import asyncio
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.process import BENCH
from tests.watcher import Watcher

ROOT = Path(__file__).parents[2]


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but the two wheels and what they ask for."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
    ]
    run(
        *pip,
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        "./common",
        "./services/scpi-bridge",
    )
    venv.create(folder / "env", with_pip=True)
    wheels = sorted(folder.glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["busbar", "scpi_bridge"]
    run(
        folder / "env/bin/pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "-c",
        "constraints.txt",
        *wheels,
    )
    return folder / "env"


async def test_a_bridge_installed_alone_serves(
    environment: Path, tmp_path: Path
) -> None:
    with Mosquitto() as broker:
        async with Simulator() as simulator, Watcher(broker.port) as watcher:
            settings = tmp_path / "bench.yaml"
            settings.write_text(BENCH.format(psu=simulator.psu.port))
            command = [
                environment / "bin/scpi-bridge",
                "--config",
                settings,
                "--broker",
                broker.url,
            ]
            process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
            try:
                await until(
                    lambda: (
                        (watcher.last("busbar/bench/psu/state") or {})
                        .get("values", {})
                        .get("voltage")
                    ),
                    "it",
                )
                assert (await watcher.call("busbar/bench/psu/set/output", "on"))[
                    "result"
                ] is True
            finally:
                process.terminate()
                assert await process.wait() == 0


def test_an_installation_has_what_it_needs_and_no_more(environment: Path) -> None:
    listed = run(
        environment / "bin/pip",
        "--disable-pip-version-check",
        "list",
        "--format=freeze",
    )
    names = {line.split("==")[0].lower() for line in listed.splitlines()} - {
        "pip",
        "setuptools",
        "wheel",
    }
    assert names == {"busbar", "scpi-bridge", "paho-mqtt", "msgspec", "ruamel.yaml"}


def test_the_wheels_carry_the_example_the_types_and_the_demo(environment: Path) -> None:
    site = next((environment / "lib").glob("python*/site-packages"))
    for file in (
        "busbar/py.typed",
        "busbar/cli/demo/loopback.conf",
        "scpi_bridge/py.typed",
        "scpi_bridge/example.yaml",
    ):
        assert (site / file).is_file(), file
    assert "demo" in run(environment / "bin/busbar", "--help")
