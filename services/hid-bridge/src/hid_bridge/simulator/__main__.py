"""Simulated scale, panel and barcode reader, in a folder in the place of /."""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from busbar.testing import simulation
from hid_bridge.simulator import devices

DESCRIPTION = (
    "A scale, a panel and a barcode reader; the bridge finds them with HID_ROOT."
)


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m hid_bridge.simulator", description=DESCRIPTION
    )
    parser.add_argument(
        "--hid-root", type=Path, help="the folder to make (default: a temporary one)"
    )
    simulation.run(_simulated(parser.parse_args().hid_root))


@contextlib.asynccontextmanager
async def _simulated(wanted: Path | None) -> AsyncIterator[dict[str, str]]:
    root = wanted or Path(tempfile.mkdtemp(prefix="busbar-hid-"))
    for left in ("sys", "dev"):  # by one that was killed
        shutil.rmtree(root / left, ignore_errors=True)
    made = (devices.scale(), devices.panel(), devices.barcodes())
    try:
        for number, each in enumerate(made):
            each.plug(root, number)
        living = devices.live(made[0], made[2])
        async with simulation.beside(living, "devices"):
            yield {"HID_ROOT": str(root)}
    finally:
        for each in made:
            each.unplug()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
