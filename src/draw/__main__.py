"""`python -m draw` is the command `draw`."""

import sys

from draw.commands.main import main

sys.exit(main())
