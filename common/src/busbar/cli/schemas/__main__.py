"""Entry point of `python -m busbar.cli.schemas OUTDIR`."""

import sys

from busbar.cli.schemas.generate import main

if __name__ == "__main__":
    sys.exit(main())
