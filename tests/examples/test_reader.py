"""The reader in examples/node on the vectors of the contract."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.broker import find
from tests.examples.programs import LIMIT, ROOT

READER = ROOT / "examples" / "node" / "reader.mjs"
RUNNER = Path(__file__).with_name("reader_vectors.mjs")
VECTORS = ROOT / "tests" / "contract" / "reader_vectors.json"

# a rule of the reader, and what it would be without
SLIPS = [
    ("if (!kept && ", "if ("),
    ("head.seq <= before.seq && head.time <= before.time", "false"),
    ("if (head.seq === before.seq) before.time = head.time;", ""),
    ("if (!agrees(bridge.difference ?? clocks))", "if (false)"),
    ("if (!agrees(bridge.difference ?? clocks))", "if (!agrees(clocks))"),
    ("if (!agrees(bridge.claimed))", "if (!bridge.claimed)"),
    ("if (now - bridge.claimedAt < STEADY) return false;", ""),
    ("head.boot !== before?.boot", "!before"),
    ("age >= -TOLERANCE && ", ""),
    ("measured ? now - bridge.difference : unix", "unix"),
    ('now - this.#since > LIMIT ? "offline" : "unconfirmed"', '"unconfirmed"'),
    ("if (now - heard <= LIMIT) return null;", ""),
    ("if (bridge.status.state !== ", "if (false && bridge.status.state !== "),
    ('if (status.state !== "online")', 'if (status.state === "offline")'),
    ("contract !== undefined && contract !== CONTRACT", "false"),
    ("if (status.boot !== boot)", "if (false)"),
    ("seq > device.seq + 1)", "false)"),
    ("else if (seq <= device.seq) return;", ""),
    ("device.missing ? seq < device.needed : seq <= device.seq", "false"),
    ("if (late) return late;", ""),
    ("if (old) return old;", ""),
    ("if (device.boot && device.boot === device.status?.boot) return;", ""),
    ("if (at <= seq) delete", "delete"),
    ("if (device.missing) device.changed[path] = seq;", ""),
    ("&& !(path in device.bad)", ""),
    ("if (gone) ", "if (false) "),
    (
        "if (payload.length === 0) return",
        "if (payload.length === 0) return; else if (0)",
    ),
]


def run(reader: Path) -> dict[str, object]:
    """Return how many pictures were compared, and which are wrong."""
    command = [find("node"), str(RUNNER), str(reader), str(VECTORS)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_believes_what_the_contract_says():
    found = run(READER)
    vectors = json.loads(VECTORS.read_text())["vectors"]
    expected = [step for each in vectors for step in each["steps"] if "expect" in step]
    assert found == {"pictures": len(expected), "wrong": []}


@pytest.mark.parametrize(("rule", "slip"), SLIPS)
def test_a_reader_that_leaves_out_a_rule_is_found_out(
    rule: str, slip: str, tmp_path: Path
):
    text = READER.read_text()
    assert rule in text
    careless = tmp_path / "reader.mjs"
    careless.write_text(text.replace(rule, slip))
    assert run(careless)["wrong"]
