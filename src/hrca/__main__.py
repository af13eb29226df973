"""``python -m hrca`` is the command ``hrca``."""

import sys

from hrca.cli import main

if __name__ == "__main__":
    sys.exit(main())
