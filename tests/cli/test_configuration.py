"""`busbar config` works offline, for every installed bridge."""

import json
from pathlib import Path

import pytest

from tests.cli.command import busbar
from tests.process import BENCH


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.yaml"
    path.write_text(
        ("broker: {username: ada, password: hunter2}\n") + BENCH.format(psu=5025)
    )
    return path


def test_a_good_file_is_fine(file: Path) -> None:
    done = busbar("config", "check", str(file), "--bridge", "scpi")
    assert (done.code, done.out) == (
        0,
        (f"{file}: fine; scpi bridge 'bench', 1 devices\n"),
    )
    assert busbar("--json", "config", "check", str(file), "--bridge", "scpi").json[
        "devices"
    ] == ["psu"]


def test_a_wrong_file_gives_7_with_line_column_and_what_is_allowed(file: Path) -> None:
    file.write_text(file.read_text().replace("timeout: 0.5", "timeuot: 0.5"))
    done = busbar("config", "check", str(file), "--bridge", "scpi")
    assert done.code == 7
    assert done.err.startswith(f"{file}:7:5: devices[0].timeuot: ")
    assert (
        busbar("config", "check", str(file), "--bridge", "scpi", "--json").json["ok"]
        is False
    )


def test_show_has_defaults_and_no_password(file: Path) -> None:
    done = busbar("config", "show", str(file), "--bridge", "scpi", "--json")
    assert done.json["broker"]["password"] == "***"
    assert done.json["devices"][0]["terminator"] == "\n"
    assert "hunter2" not in busbar("config", "show", str(file), "--bridge", "scpi").out


def test_the_schema_is_the_published_one() -> None:
    published = json.loads(
        (Path(__file__).parents[2] / "schemas" / "config-scpi.json").read_text()
    )
    assert busbar("config", "schema", "--bridge", "scpi").json == published


def test_a_bridge_that_is_not_installed_is_refused_with_those_that_are(
    file: Path,
) -> None:
    done = busbar("config", "check", str(file), "--bridge", "nope")
    assert done.code == 2
    installed = done.err.partition("installed are: ")[2].split(", ")
    assert "scpi" in [each.strip() for each in installed]
