"""`python -m busbar` is the command `busbar`."""

import sys

from busbar.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
