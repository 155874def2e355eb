"""`python -m mmkeras` and the command `mmkeras`."""

import sys

from mmkeras.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
