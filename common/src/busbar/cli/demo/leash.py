"""Run a program that the kernel ends together with its starter.

leash.py PARENT PROGRAM ARGUMENTS...

Run as a script of its own, before the program takes its place: a preexec_fn of the
starter could deadlock beside threads, and a pipe that closes is only noticed by
programs that read it, which Mosquitto and the bridges do not.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2); it lasts through execve(2)


def main(parent: str, *command: str) -> None:
    """Become the program."""
    # not Linux: then a starter that is killed leaves its programs behind
    with contextlib.suppress(AttributeError):
        # SIGKILL, as nobody is left who could wait for a clean stop and kill what does
        # not listen.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the starter is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
