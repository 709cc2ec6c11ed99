"""`python -m bnnedge`: the command `bnnedge`, where its script is on no search path."""

import sys

from bnnedge.cli import main

if __name__ == "__main__":  # workers of a study import it, too
    sys.exit(main())
