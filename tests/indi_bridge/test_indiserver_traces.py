"""Debian's INDI drivers still say what was recorded: some traces, played again."""

import os
import subprocess
import sys

from tests.indi_bridge.test_indiserver import NEED, RECIPE, refused

# the quick ones of each kind, and the goto of a parked mount
NAMES = (
    "mount-goto-parked",
    "mount-guide",
    "mount-move",
    "mount-sync",
    "mount-track",
    "ccd-cooler",
    "ccd-expose-local",
    "ccd-expose-twice",
    "ccd-video",
    "celestron-guide",
    "dome-turn",
    "flipflat-light",
    "focus-killed",
    "focus-relative",
    "lx200-guide",
    "no-hardware-focuser",
    "pmc8-guide",
    "rotator-turn",
    "wheel-turn",
)
LIMIT = 110.0  # s


def test_real_drivers_say_what_was_recorded() -> None:
    subprocess.run([NEED, "indiserver", "indi-bin"], check=True)
    why = refused()
    assert not why, f"no network namespace for indiserver: {why}"
    command = [sys.executable, "-m", "tests.traces.indi_record", "--check", *NAMES]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env=dict(os.environ),
        cwd=RECIPE.parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ends = {row for row in done.stdout.splitlines() if row.endswith(": same")}
    assert ends == {f"{name}: same" for name in NAMES}, done.stdout
