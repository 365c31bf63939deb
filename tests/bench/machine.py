"""What the figures depend on: the machine, its load, and how fast it is right now."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.broker import find

CALIBRATION = 300_000  # rounds of a loop that does nothing
# the bits of a clock id that mean "all threads of a process" (CPUCLOCK_SCHED of the
# Linux kernel)
_CPU_CLOCK = 2


@dataclass(frozen=True)
class Setup:
    """How thorough a run is."""

    quick: bool = False

    @property
    def repetitions(self) -> int:
        return 1 if self.quick else 5

    def seconds(self, usual: float) -> float:
        return usual / 4 if self.quick else usual


def describe() -> str:
    """The machine in one line, without its name."""
    versions = " ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("paho-mqtt", "msgspec")
    )
    return (
        f"{os.cpu_count()} cores {_processor()}, Linux "
        f"{platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, {_mosquitto()}, {versions}"
    )


def mood() -> dict[str, float]:
    """Return the time (ms) of a fixed loop, and the load average.

    What differs between two runs is the machine.
    """
    began = time.perf_counter()
    for _ in range(CALIBRATION):
        pass
    loop = round((time.perf_counter() - began) * 1000, 2)
    return {"loop": loop, "load": round(os.getloadavg()[0], 2)}


def cpu(pid: int) -> float:
    """Return the CPU time (s) of a process, all its threads, in ns steps where /proc
    has 10 ms."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def resident(pid: int) -> int:
    """Return the resident memory (bytes) of a process."""
    return (
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _mosquitto() -> str:
    said = subprocess.run(
        [find("mosquitto"), "-h"], capture_output=True, text=True, check=False
    ).stdout
    return said.partition("\n")[0].replace(" version", "").capitalize()
