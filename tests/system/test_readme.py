"""The programs in README.md do what it says; nothing in it is there for show."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from busbar.config import loader
from busbar.testing.fakes import until
from scpi_bridge.settings import Config
from tests import npm
from tests.broker import Mosquitto, find
from tests.cli.command import until as wait_until
from tests.examples.programs import ROOT, bench, output, run
from tests.watcher import Watcher

README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def test_the_client_sets_asks_is_refused_and_watches(tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    async with bench(tmp_path) as running:
        script.write_text(blocks("python")[0].replace("1883", str(running.broker.port)))
        async with output(sys.executable, str(script)) as text:
            await text.says(
                "BUSBAR,PSU-SIM", "99 is out of range", "output True good", "voltage "
            )


@pytest.mark.parametrize(
    "block", blocks("python", (ROOT / "docs" / "client.md").read_text())
)
def test_the_names_in_the_page_of_the_client_are_there(block: str) -> None:
    exec(compile(block, "client.md", "exec"), {})


async def test_the_subscriber_in_python_prints_values(tmp_path: Path) -> None:
    script = tmp_path / "subscriber.py"
    async with bench(tmp_path) as running:
        script.write_text(blocks("python")[1].replace("1883", str(running.broker.port)))
        async with output(sys.executable, str(script)) as text:
            await until(
                lambda: b"'setpoint/voltage': 5.0" in text and b"bad: {}" in text,
                "the values",
            )


async def test_the_subscriber_in_javascript_prints_values(tmp_path: Path) -> None:
    npm.link("mqtt", tmp_path)
    script = tmp_path / "subscriber.js"
    async with bench(tmp_path) as running:
        script.write_text(
            blocks("javascript")[0].replace("1883", str(running.broker.port))
        )
        async with output(find("node"), str(script)) as text:
            await until(lambda: b"'setpoint/voltage': 5" in text, "the values")


async def test_the_subscriber_in_shell_prints_values(tmp_path: Path) -> None:
    async with bench(tmp_path) as running:
        script = blocks("sh")[0].replace("1883", str(running.broker.port))
        async with output(shutil.which("sh") or "/bin/sh", "-c", script) as text:
            await until(
                lambda: re.search(rb"voltage is (4\.9|5\.0)\d* V", text), "the voltage"
            )


@pytest.fixture
def clock(tmp_path: Path) -> list[str]:
    """The bridge in one screen as a command, but for the broker."""
    script, settings = tmp_path / "clock.py", tmp_path / "office.yaml"
    script.write_text(blocks("python")[2])
    settings.write_text("bridge: {name: office}\n")
    return [sys.executable, str(script), "--config", str(settings)]


async def test_the_bridge_in_one_screen_is_a_bridge(clock: list[str]) -> None:
    async with office(clock) as (_, watcher):
        reply = await watcher.call("busbar/office/clock/call/greet", "Ada")
        assert reply["result"] == "hello Ada"


async def test_the_bridge_in_one_screen_keeps_the_contract(clock: list[str]) -> None:
    async with office(clock) as (broker, _):
        command = ("-m", "busbar", "conformance", "office", "--all")
        code, text = await run(sys.executable, *command, BUSBAR_URL=broker.url)
        assert code == 0, text


@asynccontextmanager
async def office(clock: list[str]) -> AsyncIterator[tuple[Mosquitto, Watcher]]:
    """A broker, the bridge in one screen once it has said the time, who watches."""
    with Mosquitto() as broker:
        async with (
            Watcher(broker.port) as watcher,
            output(*clock, "--broker", broker.url) as text,
        ):
            await until(
                lambda: watcher.on("busbar/office/clock/state/time"),
                f"the time {text.decode()}",
            )
            yield broker, watcher


def test_the_bridge_in_one_screen_ends_with_the_documented_exit_codes(
    clock: list[str], tmp_path: Path
) -> None:
    with Mosquitto() as broker:
        command = [*clock, "--broker", broker.url]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
        try:
            wait_until(lambda: any(each.poll() is not None for each in both), "an end")
            ended = [each.returncode for each in both if each.returncode is not None]
        finally:
            for each in both:
                each.kill()
            said = b"".join(each.communicate()[1] for each in both)
    assert ended == [69]
    assert b"duplicate bridge name" in said
    (tmp_path / "office.yaml").write_text("bridge: {nam: office}\n")
    wrong = subprocess.run(clock, capture_output=True, text=True)
    assert (wrong.returncode, "nam" in wrong.stderr) == (78, True)


def test_the_bridge_in_one_screen_passes_the_strictest_check_of_types(
    clock: list[str],
) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, clock[1]],
        cwd=Path(clock[1]).parent,  # without the options of this repository
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_configuration_of_an_instrument_is_accepted() -> None:
    assert loader.parse(blocks("yaml")[0], Config, {}).devices[0].name == "psu"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_what_the_readme_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()
