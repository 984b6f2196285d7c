"""``python -m pipeline.planning``: see ``pipeline.planning.command``."""

import sys

from pipeline.planning.command import main

sys.exit(main())
