"""The rules of `.ci/style.py`, each with what breaks it and what does not."""

import subprocess
import sys
from pathlib import Path

import pytest

STYLE = Path(__file__).parents[2] / ".ci" / "style.py"
BOTH = "from busbar.bridge import Session\nfrom busbar.bridge.streams import Stream\n"


def check(file: Path, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    command = [sys.executable, STYLE, *arguments, file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def function(lines: int) -> str:
    return "def long():\n" + '    """Docstring."""\n' + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("x = [a if a else b for a in c]\n", "2 conditional expressions or compre"),
        ("if any(a for a in b) and all(a for a in b):\n    pass\n", "2 conditional"),
        ("self.a, self.b, self.c = found\n", "3 values assigned at once"),
        ("a, b, c = x, y, z\n", "3 values assigned at once"),
        (function(51), "long has 51 lines, at most 50"),
    ],
)
def test_what_breaks_a_rule_is_found(tmp_path: Path, text: str, finding: str) -> None:
    done = check(tmp_path / "module.py", text)
    assert f"module.py:1: {finding}" in done.stdout
    assert done.returncode == 0
    assert check(tmp_path / "module.py", text, "--strict").returncode == 1


@pytest.mark.parametrize(
    "text",
    [
        "x = [a for a in b]\ny = a if a else b\n",
        "if any(a for a in b):\n    c = [a for a in b]\n",
        "a, b, c = found\nself.a, self.b = x, y\n",
        function(50),
    ],
)
def test_what_keeps_the_rules_is_not_found(tmp_path: Path, text: str) -> None:
    done = check(tmp_path / "module.py", text, "--strict")
    assert (done.returncode, done.stdout) == (0, "style: 0 findings\n")


def test_the_device_side_of_a_service_does_not_know_sessions(tmp_path: Path) -> None:
    module = tmp_path / "services" / "master.py"
    assert "master.py:1: imports both" in check(module, BOTH).stdout
    assert check(module.with_name("session.py"), BOTH, "--strict").returncode == 0
    assert check(tmp_path / "library.py", BOTH, "--strict").returncode == 0
