"""What is printed: colour only on a terminal, and nothing from the bus steers it."""

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from busbar.cli.output import Output, age, printable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def table_on(stream: io.StringIO) -> str:
    Output(False, stream, io.StringIO()).table(
        ["device", "state"], [["bench/psu", "online"]]
    )
    return stream.getvalue()


def test_colour_is_for_terminals_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "\x1b[32monline" in table_on(Terminal())
    assert table_on(io.StringIO()) == "device     state\nbench/psu  online\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in table_on(Terminal())


def test_text_from_the_bus_does_not_steer_the_terminal() -> None:
    stream = Terminal()
    output = Output(False, stream, stream)
    output.table(["x"], [["\x1b]0;owned\x07"]])
    output.text("\x1b[2J")
    output.note("\x9b2J")
    output.record({}, "\x1b[2J")
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x1b]" not in stream.getvalue()
    assert printable("\x1b[2J \x9b µ") == "\\x1b[2J \\x9b µ"


@pytest.mark.parametrize(
    ("name", "whole"), [("EngineData/Temperature", True), ("n" * 60, False)]
)
def test_a_narrow_terminal_folds_no_name_but_a_very_long_one(
    name: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(False, stream, stream).table(
        ["property", "title"], [[name, "Coolant of the engine, measured by its sensor"]]
    )
    assert (name in stream.getvalue()) is whole
    assert max(map(len, stream.getvalue().splitlines())) <= 50


def test_long_lines_are_not_cut_where_a_program_reads_them() -> None:
    stream = io.StringIO()
    Output(False, stream, stream).table(["x", "y"], [["a" * 300, "b"]])
    assert stream.getvalue().splitlines()[1] == f"{'a' * 300}  b"


def test_ages_are_short() -> None:
    now = time.time()
    assert [age(now - each) for each in (0, 5, 300, 7200, 200_000)] == [
        "now",
        "5 s",
        "5 min",
        "2 h",
        "2 d",
    ]
    assert age(None) == ""


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "raise ModuleNotFoundError('no click', name='click')"
    )
    run = [
        sys.executable,
        "-c",
        ("import sys; from busbar.cli.main import main; sys.exit(main(sys.argv[1:]))"),
    ]
    for arguments, code in ((["ls"], 2), (["--help"], 0)):
        done = subprocess.run(
            [*run, *arguments],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert (
            (done.stdout + done.stderr).strip().endswith("pip install './common[cli]'")
        )
