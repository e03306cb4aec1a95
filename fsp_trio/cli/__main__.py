"""`python -m fsp_trio.cli` is `fsp-trio`."""

import sys

from fsp_trio.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
