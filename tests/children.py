"""Child processes of this one: which there are, and an end for those left running."""

import gc
import os
import signal
import subprocess
from pathlib import Path

TASKS = Path("/proc/self/task")


def running() -> set[int]:
    """Return the process ids of our children, also of those that nobody has reaped."""
    found: set[int] = set()
    for children in TASKS.glob("*/children"):
        try:
            text = children.read_text()
        except FileNotFoundError:  # this thread has just ended
            continue
        found.update(map(int, text.split()))
    return found


def end(pids: set[int]) -> list[str]:
    """Kill and reap children; return their command lines.

    Without that, Python warns of a `Popen` that is not awaited when it is collected, in
    some later test.
    """
    commands = [_command(pid) for pid in sorted(pids)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for each in gc.get_objects():
        if isinstance(each, subprocess.Popen) and each.pid in pids:
            each.wait()
    for pid in pids & running():
        os.waitpid(pid, 0)
    return commands


def _command(pid: int) -> str:
    text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return text.decode(errors="replace").strip() or f"process {pid}, which has ended"
