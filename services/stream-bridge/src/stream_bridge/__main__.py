"""stream-bridge."""

import sys

from busbar.bridge import run
from stream_bridge.bridge import SERVICE


def main() -> int:
    """Run the bridge; return its exit code."""
    return run(SERVICE)


if __name__ == "__main__":
    sys.exit(main())
