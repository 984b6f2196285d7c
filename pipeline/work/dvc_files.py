"""DVC's own files after a kill: it writes them in place, so that a killed DVC may leave them cut short.

Every later DVC then refuses to start. What it needs from them the store knows better; they are taken out of its way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LOCK_FILE = "dvc.lock"
CUT_SHORT = "dvc.lock.cut_short"


def is_cut_short(path: Path) -> bool:
    """Is this ``dvc.lock`` less than DVC writes? A file that is not there is no fault."""
    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        return False
    except yaml.YAMLError:
        return True
    if not isinstance(content, dict) or not content.get("schema") or not isinstance(content.get("stages", {}), dict):
        return True
    return any(_lacks_something(step) for step in content.get("stages", {}).values())


def _lacks_something(step: Any) -> bool:
    if not isinstance(step, dict) or not step.get("cmd"):
        return True
    entries: list[Any] = []
    for kind in ("deps", "outs"):
        found = step.get(kind, [])
        if not isinstance(found, list):
            return True
        entries += found
    params = step.get("params", {})
    if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
        return True
    return not all(isinstance(e, dict) and "path" in e and None not in e.values() and _has_digest(e) for e in entries)


def _has_digest(entry: dict[str, Any]) -> bool:
    """An md5, if there is one, is a text from which DVC can make a path in its cache."""
    md5 = entry.get("md5", "absent")
    return isinstance(md5, str) and len(md5) >= 3
