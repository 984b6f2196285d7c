"""Bring every model that the parameters name into the Hub's cache, so that no job needs a network.

    python -m pipeline.interop.fetch_models [--params params/folder.yaml] [--pin]

Compute nodes have no network, login nodes have: run it there, then jobs with ``HF_HUB_OFFLINE=1``. Each model comes at
its pinned commit, without the files that are never loaded. A kill loses nothing that arrived: the same command goes on
from there, and fetches nothing where all is there. ``--pin`` first looks up the commits that are still ``unpinned`` and
writes them into the parameter file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.encoders.loading import model_files, resolve_model, resolve_pipeline
from pipeline.errors import Refusal, exit_status
from pipeline.interop.named_models import NamedModel, encoders_of, named_models
from pipeline.layout import PARAMS_YAML
from pipeline.params.check import project_params
from pipeline.params.load import Params
from pipeline.params.references import side_table
from pipeline.params.servers import ServerCaptioner
from pipeline.runner.status import format_bytes

SHOWN_DIGITS = 12
SPARE_BYTES = 1_000_000_000  # that a cache's disk keeps free


@dataclass(frozen=True)
class Fetched:
    """What of a model is in the cache, and how much of it was there before, in bytes."""

    num_files: int
    num_bytes: int
    num_bytes_before: int


def fetch_models(params: Params, tell: Callable[[str], None]) -> None:
    """Fetch all models of the Hub that parameters name, one after the other; says of each what came.

    Args:
        params: checked parameters.
        tell: takes the lines.

    Raises:
        Refusal: one could not be had; the others were fetched nevertheless.
    """
    models = named_models(params)
    refusals: list[Refusal] = []
    num_models = num_bytes = 0
    waiting = list(models)
    for named in waiting:
        for_rows = models.setdefault(named, [])
        where = f"{named.model}{f' at {named.revision[:SHOWN_DIGITS]}' if named.revision else ''}"
        rows = f" for {', '.join(dict.fromkeys(for_rows))}" if for_rows else ""
        try:
            if named.revision is None:
                tell(f"{where}{rows}: a folder here")
            else:
                fetched = fetch(named)
                num_models, num_bytes = num_models + 1, num_bytes + fetched.num_bytes
                tell(f"{where}{rows}: {_in_words(fetched)}")
            waiting += [other for other in _referred_to(named) if other not in waiting]
        except Refusal as refusal:
            tell(f"{where}{rows}: not fetched")
            refusals.append(refusal)
    for line in [*_left_to_servers(params), *_left_to_indexes(params)]:
        tell(line)
    if refusals:
        more = f" ({len(refusals) - 1} more could not be had: see above)" if len(refusals) > 1 else ""
        raise Refusal(f"{refusals[0]}{more}")
    tell(_last_line(params, num_models, num_bytes))


def fetch(named: NamedModel) -> Fetched:
    """Have one model of the Hub in its cache.

    Raises:
        Refusal: it cannot be had, or the cache's disk has too little room.
    """
    from pipeline.hub.answers import MODEL
    from pipeline.hub.files import HubFiles

    assert named.revision is not None
    files = HubFiles(named.model, named.revision, MODEL)
    if named.parts is None:
        before = _bytes_below(files.folder)
        folder = resolve_pipeline(named.model, named.revision)
        return Fetched(len(_files_below(folder)), _bytes_below(folder), before)
    names = model_files(files, named.parts, named.subfolder)
    total = sum(files.sizes[name] for name in names)
    before = sum(files.sizes[name] for name in names if files.here(name))
    _require_room(files.folder, total - before, named.model)
    files.fetch_all(names)
    return Fetched(len(names), total, before)


def pin(path: Path, project: Path, tell: Callable[[str], None]) -> None:
    """Write the commits that the Hub has now into a parameter file that says ``unpinned``.

    Raises:
        Refusal: a commit cannot be had (those that could be are written), or the file cannot be changed.
    """
    from pipeline.hub.answers import DATA_SET, MODEL
    from pipeline.hub.commits import PIN
    from pipeline.hub.files import HubFiles
    from pipeline.params.load import BASE_PRESET, load
    from pipeline.params.pinning import places_in, write_commits
    from pipeline.params.unpinned import Repository, unpinned_in, with_preset

    params = load(path, project)
    places = places_in(path.read_bytes().decode("utf-8"), str(path))
    commits: dict[Repository, str] = {}
    refusals: list[Refusal] = []
    for repository in dict.fromkeys(place.repository for place in places):
        kind = MODEL if repository.repo_type == MODEL.repo_type else DATA_SET
        try:
            commits[repository] = HubFiles(repository.name, "main", kind).commit_now()
        except Refusal as refusal:
            refusals.append(refusal)
    for place in write_commits(path, commits) if commits else []:
        commit = commits[place.repository]
        tell(f"{path}: line {place.line}: {place.key} of {place.repository.name} is now {commit}")
    if refusals:
        raise refusals[0]
    if not places:
        if next(unpinned_in(params.resolved), None):
            where = f"{path}: takes an unpinned commit from the demo's parameters"
            raise Refusal(f"{where}, which {BASE_PRESET} says; {with_preset(PIN, str(BASE_PRESET))} writes it there")
        tell(f"{path}: nothing is unpinned")


def _referred_to(named: NamedModel) -> list[NamedModel]:
    if named.parts is None:
        return []
    return encoders_of(resolve_model(named.model, named.revision, named.subfolder, named.parts))


def _require_room(folder: Path, num_bytes: int, model: str) -> None:
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if num_bytes and free < num_bytes + SPARE_BYTES:
        raise Refusal(
            f"{model}: {format_bytes(num_bytes)} to fetch, and {disk} has {format_bytes(free)} free; make room, or let "
            "HF_HOME name another disk"
        )


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files_below(folder))


def _in_words(fetched: Fetched) -> str:
    new = fetched.num_bytes - fetched.num_bytes_before
    if not new:
        how = "all there already"
    else:
        had = f", {format_bytes(fetched.num_bytes_before)} were there" if fetched.num_bytes_before else ""
        how = f"{format_bytes(new)} fetched{had}"
    return f"{fetched.num_files} files, {format_bytes(fetched.num_bytes)}: {how}"


def _left_to_indexes(params: Params) -> list[str]:
    """Data sets of the Hub: the index of each fetches them."""
    captioners = side_table(params, "recaption", "captioners")
    holders = [("download", row, params.row("download", row)) for row in params.rows("download")]
    holders += [
        ("recaption", row, captioners[params.row("recaption", row).captioner]) for row in params.rows("recaption")
    ]
    return [
        f"data set {holder.repository} for {stage}/{row}: its index fetches it: python -m stages.{stage} --params "
        f"{params.source} --row {row} --part index"
        for stage, row, holder in holders
        if getattr(holder, "repository", None) is not None
    ]


def _left_to_servers(params: Params) -> list[str]:
    """Models that run elsewhere: those servers have them from wherever they are started."""
    captioners = side_table(params, "recaption", "captioners")
    rows: dict[str, list[str]] = {}
    for row in params.rows("recaption"):
        captioner = captioners[params.row("recaption", row).captioner]
        if isinstance(captioner, ServerCaptioner):
            rows.setdefault(f"{captioner.model} at {captioner.revision[:SHOWN_DIGITS]}", []).append(f"recaption/{row}")
    return [f"{model} for {', '.join(of_model)}: left to the servers that run it" for model, of_model in rows.items()]


def _last_line(params: Params, num_models: int, num_bytes: int) -> str:
    from huggingface_hub import constants

    if not num_models:
        return f"{params.source} names no model of the Hub that is loaded here"
    models = "the model of the Hub" if num_models == 1 else f"all {num_models} models of the Hub"
    return (
        f"{models} that {params.source} names: {format_bytes(num_bytes)} in {constants.HF_HUB_CACHE}; with "
        "HF_HUB_OFFLINE=1 jobs ask for nothing else"
    )


def main(arguments: list[str] | None = None) -> int:
    """Fetch, and pin first where asked to; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.interop.fetch_models", description="bring the models of the parameters into the cache"
    )
    parser.add_argument("--params", type=Path, default=Path(PARAMS_YAML), help=f"parameter file ({PARAMS_YAML})")
    parser.add_argument("--pin", action="store_true", help="write commits into the file where it says unpinned, first")
    parsed, project = parser.parse_args(arguments), Path.cwd()

    def tell(line: str) -> None:
        print(line, flush=True)

    def do() -> None:
        if parsed.pin:
            pin(parsed.params, project, tell)
        fetch_models(project_params(parsed.params, project), tell)

    try:
        return exit_status(do)
    except KeyboardInterrupt:
        print("fetch-models: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
