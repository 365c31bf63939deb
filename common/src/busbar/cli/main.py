"""The command `busbar`.

Its library is an extra (docs/decisions/0006): without it this says how to get it.
"""

import os
import sys
from collections.abc import Sequence

NEEDED = {"click", "rich"}
WITHOUT = (
    "busbar: the command line (demo, ls, show, get, set, ...) needs the extra `cli` of "
    "busbar-mqtt; in its repository: pip install './common[cli]'"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        from busbar.cli.group import run
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        asked = arguments == ["--help"]
        print(WITHOUT, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    try:
        return run(arguments)
    except KeyboardInterrupt:  # before a command has begun
        return 130
    except BrokenPipeError:
        # `busbar ... | head`: the reader has gone, and the interpreter must not trip
        # over it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE
