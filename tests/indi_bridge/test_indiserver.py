"""The peer that nobody here wrote.

Indiserver of Debian's indi-bin, in a network of its own.

indiserver listens on all interfaces and cannot be told otherwise, hence the network
namespace.
"""

import os
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).with_name("recipe.py")
ALONE = [
    "unshare",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    'ip link set lo up && exec "$@"',
    "sh",
]
NEED = RECIPE.parents[2] / ".ci" / "need"  # installs what is missing
LIMIT = 140.0  # s


def refused() -> str:
    """Return why this machine gives no network namespace, "" if it does."""
    tried = subprocess.run(
        [*ALONE, "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        return ""
    return tried.stderr.strip() or f"exit code {tried.returncode}"


def test_the_recipe_on_indiserver() -> None:
    subprocess.run([NEED, "indiserver", "indi-bin"], check=True)
    why = refused()
    assert not why, (
        f"no network namespace for indiserver, which would listen on all interfaces: "
        f"{why}"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(RECIPE),
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_")
    }
    done = subprocess.run(
        [*ALONE, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env=environment,
        cwd=RECIPE.parents[2],
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
