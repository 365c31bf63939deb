"""The library and one bridge, built as wheels and installed alone into an empty
environment, run against a broker."""

import asyncio
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.broker import Mosquitto
from tests.process import BENCH
from tests.watcher import Watcher

ROOT = Path(__file__).parents[2]
SERVICES = [
    each.parent.relative_to(ROOT) for each in ROOT.glob("services/*/pyproject.toml")
]


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


def pip(*arguments: str | Path) -> str:
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    return run(*command, *arguments)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    packages = ["./common", *sorted(f"./{each}" for each in SERVICES)]
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation")
    pip(*build, "--wheel-dir", folder, *packages)
    return folder


def installed(wheels: Path, service: str) -> Path:
    """Return an environment with nothing but a bridge and what its wheel asks for."""
    folder = wheels / service
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip(
        *("--python", python, "install", "--quiet", "-c", "constraints.txt"),
        *("--find-links", wheels, f"busbar-{service}"),
    )
    return folder


@pytest.fixture(scope="module")
def environment(wheels: Path) -> Path:
    return installed(wheels, "scpi-bridge")


@pytest.mark.parametrize("service", [each.name for each in SERVICES])
def test_each_bridge_is_installed_from_its_wheel_with_our_library(
    wheels: Path, service: str
) -> None:
    """The index has a `busbar` of somebody else: it must never be taken."""
    folder = wheels / service
    if not folder.exists():
        installed(wheels, service)
    module = service.replace("-", "_")
    text = f"import busbar.client, {module}.bridge; print(busbar.client.__file__)"
    found = run(folder / "bin" / "python", "-c", text)
    assert Path(found.strip()).is_relative_to(folder)
    assert run(folder / "bin" / service, "--help").startswith("usage:")


def test_every_wheel_has_the_version_and_the_licence(wheels: Path) -> None:
    version = (ROOT / "VERSION").read_text().strip()
    names = sorted(wheels.glob("*.whl"))
    assert len(names) == 1 + len(SERVICES)
    for wheel in names:
        assert wheel.name.startswith("busbar_")
        assert wheel.name.split("-")[1] == version
        with zipfile.ZipFile(wheel) as archive:
            licence = (
                f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/licenses/LICENSE"
            )
            assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
            metadata = archive.read(licence.replace("licenses/LICENSE", "METADATA"))
            if "bridge" in wheel.name:
                assert f"=={version}".encode() in metadata
            assert any(name.endswith("/py.typed") for name in archive.namelist())


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
    listed = pip("--python", environment / "bin" / "python", "list", "--format=freeze")
    names = {line.split("==")[0].lower() for line in listed.splitlines()}
    assert names == {
        "busbar-mqtt",
        "busbar-scpi-bridge",
        "paho-mqtt",
        "msgspec",
        "ruamel.yaml",
    }


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
