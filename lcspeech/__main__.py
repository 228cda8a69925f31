"""``python -m lcspeech``: the command line."""

import sys

from lcspeech.cli import main

if __name__ == "__main__":
    sys.exit(main())
