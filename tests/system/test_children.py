"""What a test leaves running is ended, and the test that left it fails."""

import subprocess
import sys
from pathlib import Path

from tests import children

LEFT_BEHIND = """
import subprocess

KEPT = []

def test_guilty():
    KEPT.append(subprocess.Popen(["sleep", "60"]))

def test_innocent():
    pass
"""


def test_a_child_that_is_left_running_is_ended_and_reaped() -> None:
    before = children.running()
    pipe = subprocess.PIPE
    with subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"echo\n")
        assert process.stdout.readline() == b"echo\n"
        assert children.running() - before == {process.pid}
        assert children.end({process.pid}) == ["cat"]
        assert process.returncode is not None
    assert children.running() == before


def test_a_child_that_has_ended_but_is_not_reaped_counts() -> None:
    before = children.running()
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    assert children.running() - before == {process.pid}
    children.end({process.pid})
    assert children.running() == before
    process.stdout.close()


def test_the_guilty_test_fails_and_the_next_one_does_not(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    file = tmp_path / "test_two.py"
    file.write_text(LEFT_BEHIND)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest"]
    done = subprocess.run(
        [*command, f"--rootdir={root}", "-c", f"{root}/pyproject.toml", str(file)],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert "ERROR at teardown of test_guilty" in done.stdout, done.stdout
    assert "left running: " in done.stdout
    assert "2 passed, 1 error" in done.stdout
