"""`python -m draw` is the command `draw`."""

import sys

from draw.cli import main

sys.exit(main())
