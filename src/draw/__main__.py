"""Run the `draw` command with `python -m draw`."""

import sys

from draw.commands.main import main

sys.exit(main())
