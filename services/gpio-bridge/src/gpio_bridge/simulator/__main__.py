"""Simulated hardware PWM: a folder like /sys/class/pwm.

The chip itself lives in the bridge (`backend: sim`); this program is the kernel's side
of its PWM. It shows what is written to it on stderr.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from busbar.testing import simulation

LOOK = 0.01  # s between looks at what was written
DEVICE = "fe20c000.pwm"  # as on a Pi 4
FILES = {"period": 0, "duty_cycle": 0, "enable": 0}


class PwmTree:
    """A folder that behaves as sysfs does.

    Writing to `export` makes a channel, to `unexport` takes it away.
    """

    def __init__(
        self,
        root: Path,
        device: str = DEVICE,
        channels: int = 2,
        chip: str = "pwmchip0",
    ) -> None:
        self.root = root
        self.chip = root / chip
        behind = root / "devices" / device
        behind.mkdir(parents=True)
        self.chip.mkdir()
        (self.chip / "device").symlink_to(behind)
        (self.chip / "npwm").write_text(f"{channels}\n")
        for name in ("export", "unexport"):
            (self.chip / name).write_text("")

    def look(self) -> None:
        """Do what was written to `export` and `unexport`."""
        for name, do in (("export", self._make), ("unexport", self._remove)):
            asked = (self.chip / name).read_text().strip()
            if asked:
                (self.chip / name).write_text("")
                do(self.chip / f"pwm{int(asked)}")

    def channel(self, number: int) -> dict[str, int] | None:
        """Return what was written to a channel (ns); None while it is not exported."""
        folder = self.chip / f"pwm{number}"
        written = {}
        try:
            for name in FILES:
                text = (folder / name).read_text()
                written[name] = int(text or 0)
        except FileNotFoundError:
            return None
        return written

    async def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            await asyncio.sleep(LOOK)

    def _make(self, folder: Path) -> None:
        made = folder.with_suffix(".new")  # it appears whole
        made.mkdir(exist_ok=True)
        for name, value in FILES.items():
            (made / name).write_text(str(value))
        with contextlib.suppress(OSError):  # it is there already
            made.rename(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def pwm_tree(root: Path, **about: int | str) -> AsyncIterator[PwmTree]:
    """Make a folder of simulated PWM; left, it no longer reacts."""
    tree = PwmTree(root, **about)  # type: ignore[arg-type]  # by name
    async with simulation.beside(tree.run(), "pwm"):
        yield tree


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m gpio_bridge.simulator", description=__doc__
    )
    parser.add_argument(
        "--pwm-root", type=Path, help="the folder to make (default: a temporary one)"
    )
    simulation.run(_simulated(parser.parse_args().pwm_root))


@contextlib.asynccontextmanager
async def _simulated(wanted: Path | None) -> AsyncIterator[dict[str, str]]:
    root = wanted or Path(tempfile.mkdtemp(prefix="busbar-pwm-"))
    for left in ("pwmchip0", "devices"):  # by one that was killed
        shutil.rmtree(root / left, ignore_errors=True)
    try:
        async with pwm_tree(root) as tree, simulation.beside(_show(tree), "show"):
            yield {"PWM_ROOT": str(root)}
    finally:
        shutil.rmtree(root, ignore_errors=True)


async def _show(tree: PwmTree) -> None:
    """Print what is written to the first channel."""
    before = None
    while True:
        now = tree.channel(0)
        if now != before:
            before = now
            print(f"pwm0: {now}", file=sys.stderr, flush=True)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
