"""From YAML to a ``Params`` object: presets, common values, strict conversion, one-line refusals.

A preset is a delta on ``params/demo.yaml``: the sections merge key by key, everything inside them (tables, rows,
weights, lists) replaces whole. It names its own ``run``. A resolved file has all sections and is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pipeline.digest import digest_json
from pipeline.errors import Refusal
from pipeline.params import kinds, schema, scoring, yaml12
from pipeline.params.caption_sets import rows_of, why_no_set, with_sets
from pipeline.params.explain import allowed_values, field_names, find_fault, unknown_key
from pipeline.params.schema import STAGE_NAMES
from pipeline.params.types import Name

BASE_PRESET = Path("params/demo.yaml")
SCALAR_KEYS = ("run",)
PLAIN_SECTIONS = {"seeds": schema.Seeds, "execution": schema.Execution}
TOP_LEVEL_KEYS = (*SCALAR_KEYS, *PLAIN_SECTIONS, *STAGE_NAMES)
ROWS = "rows"
IMPORT = "import"
KIND = "kind"


@dataclass(frozen=True)
class SectionTypes:
    """What a section may hold.

    Attributes:
        row: the type of its rows.
        imported: of its rows that name something made elsewhere; None where there are none.
        imported_kinds: of such rows whose ``kind`` says more.
        tables: side table -> the type of its entries.
    """

    row: Any
    imported: Any = None
    imported_kinds: Any = None
    tables: dict[str, Any] = field(default_factory=dict)


def section_types() -> dict[str, SectionTypes]:
    """The types of all sections, built from the tables of kinds; anew only after a kind was added."""
    return _section_types(kinds.num_added())


@cache
def _section_types(num_added: int) -> dict[str, SectionTypes]:
    del num_added
    trained = {"objective": kinds.OBJECTIVES}
    return {
        "download": SectionTypes(kinds.SOURCES.union()),
        "augment": SectionTypes(kinds.AUGMENTATIONS.union()),
        "recaption": SectionTypes(schema.RecaptionRow, tables={"captioners": kinds.CAPTIONERS.union()}),
        "encode_images": SectionTypes(schema.EncodeImagesRow, tables={"autoencoders": kinds.AUTOENCODERS.union()}),
        "encode_text": SectionTypes(schema.EncodeTextRow, tables={"encoders": kinds.TEXT_ENCODERS.union()}),
        "train": SectionTypes(
            kinds.built_from(schema.TrainRow, network=kinds.NETWORKS, **trained),
            schema.ImportedModelRow,
            schema.ImportedPipelineRow,
        ),
        "finetune": SectionTypes(kinds.built_from(schema.FinetuneRow, **trained)),
        "generate": SectionTypes(
            schema.GenerateRow, schema.ImportedPicturesRow, tables={"benchmarks": kinds.BENCHMARKS.union()}
        ),
        "score": SectionTypes(
            schema.ScoreRow,
            tables={
                "judges": kinds.JUDGES.union(),
                "metrics": kinds.METRICS.union(),
                "feature_extractors": kinds.FEATURES.union(),
                "style_probes": scoring.StyleProbe,
            },
        ),
        "report": SectionTypes(schema.ReportRow),
    }


class Section(msgspec.Struct, frozen=True):
    """One stage's part of the parameters: its side tables and its rows, resolved."""

    tables: dict[str, dict[str, Any]]
    rows: dict[str, Any]


class Params(msgspec.Struct, frozen=True):
    """All parameters of a run, resolved and checked for types; ``check.check`` looks at what they mean together."""

    run: str
    seeds: schema.Seeds
    execution: schema.Execution
    sections: dict[str, Section]
    resolved: dict[str, Any]
    source: str

    def row(self, stage: str, name: str) -> Any:
        """One resolved row."""
        rows = self.sections[stage].rows
        if name not in rows:
            why = why_no_set(stage, name, rows)
            none = f"{stage} has no row {name!r}; it has {', '.join(sorted(rows)) or 'none'}"
            raise Refusal(f"{self.source}: {f'{stage}/{name} {why}' if why else none}")
        return rows[name]

    def rows(self, stage: str) -> list[str]:
        """Names of a stage's rows, sorted."""
        return sorted(self.sections[stage].rows)

    def rows_named(self, stage: str, name: str) -> list[str]:
        """The rows that a name stands for: its own, or those of its several caption sets, in the order of its file.

        Raises:
            Refusal: there is no such row.
        """
        return rows_of(name, self.sections[stage].rows) or [self.row(stage, name)]

    def digest(self) -> str:
        """A name for the parameters, execution values included."""
        return digest_json(self.resolved)

    def result_digest(self) -> str:
        """A name for the parameters that results depend on."""
        return digest_json({k: v for k, v in self.resolved.items() if k != "execution"})


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises Refusal with the file and the line when it is none."""
    try:
        value = yaml12.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        here = f"in {Path.cwd()}" if not path.is_absolute() else "there"
        raise Refusal(
            f"{path}: cannot be read ({error.strerror}); name a parameter file that is {here}, or type the command "
            "in the project's folder"
        ) from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f"line {where.line + 1}: " if where else ""
        raise Refusal(f"{path}: {line}not YAML ({getattr(error, 'problem', error)})") from error
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: not UTF-8 text") from error
    if not isinstance(value, dict):
        raise Refusal(f"{path}: must be a mapping of {', '.join(TOP_LEVEL_KEYS)}")
    return value


def resolve(delta: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """A preset laid over the base: sections merge key by key, all else replaces whole."""
    merged = dict(base)
    for key, value in delta.items():
        both_sections = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = {**base[key], **value} if both_sections else value
    return merged


def load(path: Path, project: Path) -> Params:
    """Read, resolve and convert a parameter file, preset or whole.

    Raises:
        Refusal: with the file, the key, the value and what is allowed.
    """
    raw = read_yaml(path)
    for key in raw:
        _known(key, TOP_LEVEL_KEYS, str(path), "")
    if "run" not in raw:  # taken from the demo, it would lead into the demo's folders
        raise Refusal(f"{path}: run is missing: name the run, and with it its folders, for example run: {path.stem}")
    if any(key not in raw for key in TOP_LEVEL_KEYS):
        raw = resolve(raw, read_yaml(project / BASE_PRESET))
    return convert(raw, str(path))


def convert(raw: dict[str, Any], source: str) -> Params:
    """Turn a resolved mapping into parameters. Raises Refusal as ``load`` does."""
    missing = [key for key in TOP_LEVEL_KEYS if key not in raw]
    if missing:
        raise Refusal(f"{source}: {missing[0]} is missing")
    for key in raw:
        _known(key, TOP_LEVEL_KEYS, source, "")
    run = _convert(raw["run"], Name, source, "run")
    plain = {key: _convert(raw[key], kind, source, key) for key, kind in PLAIN_SECTIONS.items()}
    sections = {stage: _section(raw[stage], stage, source) for stage in STAGE_NAMES}
    sections["recaption"] = Section(*with_sets(sections["recaption"].tables, sections["recaption"].rows, source))
    return Params(run=run, sections=sections, resolved=raw, source=source, **plain)


def _section(raw: Any, stage: str, source: str) -> Section:
    if not isinstance(raw, dict) or not isinstance(raw.get(ROWS), dict):
        raise Refusal(f"{source}: {stage} must be a mapping with a table {ROWS!r} in it")
    table_types = section_types()[stage].tables
    common = {k: v for k, v in raw.items() if k != ROWS and k not in table_types}
    tables = {table: _table(raw.get(table), kind, source, f"{stage}.{table}") for table, kind in table_types.items()}
    _known_common(common, stage, source)
    rows = {
        _name(name, source, f"{stage}.{ROWS}"): _row(own, common, stage, name, source)
        for name, own in raw[ROWS].items()
    }
    return Section(tables=tables, rows=rows)


def _table(entries: Any, kind: Any, source: str, where: str) -> dict[str, Any]:
    if not isinstance(entries, dict):
        raise Refusal(f"{source}: {where} must be a table of named entries")
    return {
        _name(name, source, where): _convert(entry, kind, source, f"{where}.{name}") for name, entry in entries.items()
    }


def _row(own: Any, common: dict[str, Any], stage: str, name: str, source: str) -> Any:
    where = f"{stage}.{ROWS}.{name}"
    if not isinstance(own, dict):
        raise Refusal(f"{source}: {where} must be a mapping, got {own!r}")
    kind = _row_type(own, stage)
    if section_types()[stage].imported is not None:  # each kind of row takes those common values that it knows
        common = {k: v for k, v in common.items() if k in field_names(kind)}
    # A common value that is no good is named where it stands.
    homes = {key: stage for key in common if key not in own}
    return _convert({**common, **own}, kind, source, where, homes)


def _row_type(own: dict[str, Any], stage: str) -> Any:
    types = section_types()[stage]
    if IMPORT not in own or types.imported is None:
        return types.row
    return types.imported_kinds if KIND in own and types.imported_kinds is not None else types.imported


def _known_common(common: dict[str, Any], stage: str, source: str) -> None:
    """A misspelt common value is refused even where the table has no rows."""
    types = section_types()[stage]
    allowed = field_names(types.row if types.imported is None else types.row | types.imported)
    for key in common:
        _known(key, sorted(allowed | {ROWS, *types.tables}), source, f"{stage}.")


def _known(key: Any, allowed: Iterable[str], source: str, prefix: str) -> None:
    if key not in allowed:
        raise Refusal(f"{source}: {prefix}{key}{unknown_key(key, allowed)}")


def _name(name: Any, source: str, where: str) -> str:
    if find_fault(name, Name):
        raise Refusal(f"{source}: {where}: the key {name!r} must be {allowed_values(Name)}")
    return str(name)


def _convert(value: Any, kind: Any, source: str, where: str, homes: dict[str, str] | None = None) -> Any:
    fault = find_fault(value, kind)
    if fault:
        if homes and fault.of_value and fault.keys[0] in homes:
            where = homes[str(fault.keys[0])]
        raise Refusal(f"{source}: {'.'.join([where, *map(str, fault.keys)])}{fault.says}")
    return msgspec.convert(value, kind)
