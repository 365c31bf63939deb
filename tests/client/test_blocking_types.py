"""What mypy says of calls of the blocking client: a misspelt option is found."""

import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "common" / "src"
PROGRAM = """
from busbar.client.blocking import Client

with Client("mqtt://127.0.0.1", timeout=1) as bus:
    psu = bus.device("bench/psu")
    psu.set("output", True, timeout=0.5, ttl=1, wait=2, id="off-0001", lease="token")
    psu.set({"output": True}, deadline=12.5)
    psu.call("query", "*IDN?", timeout=None)
    psu.call("move", {"wait": 3, "ttl": 4}, wait=1)
    with psu.lock(owner="me", ttl=5, wait=1, scope="device", polls=False, timeout=3):
        pass
    psu.set("output", True, tmeout=0.5)  # WRONG
    psu.set("output", True, timeout="0.5")  # WRONG
    psu.call("query", "*IDN?", tmeout=0.5)  # WRONG
    psu.call("query", command="*IDN?")  # WRONG
    psu.lock(tll=5)  # WRONG
    psu.lock(scope="room")  # WRONG
    psu.wait_online(timout=5)  # WRONG
    bus.subscribe("#", print, thread=True)  # WRONG
    Client("mqtt://127.0.0.1", time_out=1)  # WRONG
"""


def test_mypy_finds_each_misspelt_option_and_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    wrong = {
        number
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if line.endswith("# WRONG")
    }
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", program],
        env={"MYPYPATH": str(SOURCES)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = set()
    for line in checked.stdout.splitlines():
        if line.startswith("program.py:") and " error: " in line:
            found.add(int(line.split(":")[1]))
    assert found == wrong, checked.stdout + checked.stderr
