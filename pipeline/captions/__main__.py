"""``python -m pipeline.captions``."""

from __future__ import annotations

import sys

from pipeline.captions.command import main

sys.exit(main())
