"""Write a preset, resolved, into ``params.yaml``, from which both engines read.

    python -m pipeline.params.use folder

The demo's file is written as it is, with its comments; every other preset as the values that it leads to, under a
head that says where they are explained. A ``params.yaml`` that is replaced is kept in ``.work/params``.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

from pipeline.digest import sha256_of_bytes
from pipeline.errors import Refusal, exit_status
from pipeline.layout import PARAMS_YAML, PRESETS, WORK
from pipeline.params import yaml12
from pipeline.params.check import project_params
from pipeline.params.load import BASE_PRESET, PLAIN_SECTIONS, ROWS, SCALAR_KEYS, TOP_LEVEL_KEYS, convert

LINE_WIDTH = 118
DIGEST_DIGITS = 12


def presets(project: Path) -> list[str]:
    """Names of the presets of a project, sorted."""
    return sorted(path.stem for path in (project / PRESETS).glob("*.yaml"))


def use(name: str, project: Path) -> str:
    """Make ``params.yaml`` say what a preset says; returns a line on what was done.

    Raises:
        Refusal: no name, no such preset, or one that does not load or whose values conflict. Nothing is written then.
    """
    path = project / PRESETS / f"{name}.yaml"
    if name not in presets(project):
        wrong = f"no preset {name!r}" if name else "name a preset: make use P=<preset>"
        raise Refusal(f"{wrong}; there are {', '.join(presets(project)) or f'none in {PRESETS}/'}")
    params = project_params(path, project)
    is_base = path == project / BASE_PRESET
    text = path.read_text(encoding="utf-8") if is_base else render(params.resolved, name)
    _same_again(text, params.resolved)
    target = project / PARAMS_YAML
    kept = _keep_old(target, text.encode(), project)
    _write_atomically(target, text.encode())
    return f"{PARAMS_YAML} now holds the preset {name} (run {params.run})" + (
        f"; the old one is {kept}" if kept else ""
    )


def render(resolved: dict[str, Any], name: str) -> str:
    """Resolved parameters as YAML: sections in the order of the stages, a section's common values before its rows."""
    head = (
        f"# The preset {name}, resolved (params/{name}.yaml over {BASE_PRESET.as_posix()}). "
        f"{BASE_PRESET.as_posix()} explains each value.\n"
    )
    parts = []
    for key in TOP_LEVEL_KEYS:
        value = resolved[key]
        if isinstance(value, dict) and key not in PLAIN_SECTIONS:
            value = {**{k: v for k, v in value.items() if k != ROWS}, ROWS: value[ROWS]}
        parts.append(f"{key}: {value}\n" if key in SCALAR_KEYS else _section(key, _yaml(value)))
    return head + "\n" + "\n".join(parts)


def _yaml(value: dict[str, Any]) -> str:
    """Block style, but for the innermost mappings and lists, so that a row is mostly one line."""
    text: str = yaml12.write(value, sort_keys=False, width=LINE_WIDTH, default_flow_style=None)
    return text


def _section(key: str, text: str) -> str:
    return f"{key}: {text}" if text.startswith("{") else f"{key}:\n{textwrap.indent(text, '  ')}"


def _same_again(text: str, resolved: dict[str, Any]) -> None:
    """What is written must read back as the very same parameters."""
    read = convert(yaml12.read(text), PARAMS_YAML)
    if read.resolved != resolved:
        raise AssertionError("the parameters as written differ from those that were resolved")


def _keep_old(target: Path, new: bytes, project: Path) -> str | None:
    """Keep a file that is about to be replaced by another content; returns where."""
    if not target.exists():
        return None
    old = target.read_bytes()
    if old == new:
        return None
    kept = project / WORK / PRESETS / f"replaced-{sha256_of_bytes(old)[:DIGEST_DIGITS]}.yaml"
    kept.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(kept, old)
    return os.path.relpath(kept, project)


def _write_atomically(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def main(arguments: list[str] | None = None) -> int:
    """Write the preset that is named; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.params.use", description="write a preset to params.yaml")
    names = ", ".join(presets(Path.cwd()))
    parser.add_argument("preset", nargs="?", default="", help=f"one of {names}" if names else "a file in params/")
    parsed = parser.parse_args(arguments)
    return exit_status(lambda: print(use(parsed.preset, Path.cwd())))


if __name__ == "__main__":
    sys.exit(main())
