"""What a revision of the Hub may be: a commit, or the word that says that none was read in a source yet."""

from __future__ import annotations

import re

COMMIT = re.compile(r"[0-9a-f]{40}")
UNPINNED = "unpinned"
# Where the commit that the Hub has now is written in place of that word.
PIN = "make fetch-models PIN=1"
