"""From YAML to a ``Params`` object: presets, common values, strict conversion, one-line refusals.

A preset is a delta on ``params/demo.yaml``: the sections merge key by key, everything inside them (tables, rows,
weights, lists) replaces whole. A resolved file has all sections and is taken as it is.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pipeline.digest import digest_json
from pipeline.errors import Refusal
from pipeline.params import schema
from pipeline.stages import NAMES

BASE_PRESET = Path("params/demo.yaml")
SCALAR_KEYS = ("run",)
PLAIN_SECTIONS = {"seeds": schema.Seeds, "execution": schema.Execution}
TOP_LEVEL_KEYS = (*SCALAR_KEYS, *PLAIN_SECTIONS, *NAMES)
ROWS = "rows"
IMPORT = "import"

ROW_TYPES: dict[str, Any] = {
    "download": schema.ShapeWorldRow | schema.FolderRow,
    "augment": schema.CutMixRow | schema.CropRow,
    "recaption": schema.RecaptionRow,
    "encode_images": schema.EncodeImagesRow,
    "encode_text": schema.EncodeTextRow,
    "train": schema.TrainRow,
    "finetune": schema.FinetuneRow,
    "generate": schema.GenerateRow,
    "score": schema.ScoreRow,
    "report": schema.ReportRow,
}
IMPORT_TYPES: dict[str, Any] = {"train": schema.ImportedModelRow, "generate": schema.ImportedPicturesRow}
SIDE_TABLES: dict[str, dict[str, Any]] = {
    "recaption": {"captioners": schema.Captioner},
    "encode_images": {"autoencoders": schema.Autoencoder},
    "encode_text": {"encoders": schema.TextEncoder},
    "generate": {"benchmarks": schema.Benchmark},
    "score": {"feature_extractors": schema.Features},
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
            raise Refusal(f"{self.source}: {stage} has no row {name!r}; it has {', '.join(sorted(rows)) or 'none'}")
        return rows[name]

    def rows(self, stage: str) -> list[str]:
        """Names of a stage's rows, sorted."""
        return sorted(self.sections[stage].rows)

    def digest(self) -> str:
        """A name for the parameters, execution values included."""
        return digest_json(self.resolved)

    def result_digest(self) -> str:
        """A name for the parameters that results depend on."""
        return digest_json({k: v for k, v in self.resolved.items() if k != "execution"})


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader, except that a key given twice is refused rather than the first one lost."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if key in seen:
            raise Refusal(f"line {key_node.start_mark.line + 1}: the key {key!r} is given twice")
        seen.add(key)
    loader.flatten_mapping(node)  # type: ignore[no-untyped-call]
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True)  # type: ignore[no-untyped-call]
        for k, v in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises Refusal with the file and the line when it is none."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise Refusal(f"{path}: cannot be read ({error.strerror}); name an existing parameter file") from error
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
    run = _convert(raw["run"], schema.Name, source, "run")
    plain = {key: _convert(raw[key], kind, source, key) for key, kind in PLAIN_SECTIONS.items()}
    sections = {stage: _section(raw[stage], stage, source) for stage in NAMES}
    return Params(run=run, sections=sections, resolved=raw, source=source, **plain)


def _section(raw: Any, stage: str, source: str) -> Section:
    if not isinstance(raw, dict) or not isinstance(raw.get(ROWS), dict):
        raise Refusal(f"{source}: {stage} must be a mapping with a table {ROWS!r} in it")
    kinds = SIDE_TABLES.get(stage, {})
    common = {k: v for k, v in raw.items() if k != ROWS and k not in kinds}
    tables = {}
    for table, kind in kinds.items():
        entries = raw.get(table)
        if not isinstance(entries, dict):
            raise Refusal(f"{source}: {stage}.{table} must be a table of named entries")
        tables[table] = {
            _convert(name, schema.Name, source, f"{stage}.{table}"): _convert(
                entry, kind, source, f"{stage}.{table}.{name}"
            )
            for name, entry in entries.items()
        }
    _known_common(common, stage, source)
    rows = {}
    for name, own in raw[ROWS].items():
        _convert(name, schema.Name, source, f"{stage}.{ROWS}")
        rows[name] = _row(own, common, stage, name, source)
    return Section(tables=tables, rows=rows)


def _row(own: Any, common: dict[str, Any], stage: str, name: str, source: str) -> Any:
    where = f"{stage}.{ROWS}.{name}"
    if not isinstance(own, dict):
        raise Refusal(f"{source}: {where} must be a mapping, got {own!r}")
    if IMPORT in own and stage in IMPORT_TYPES:
        kind = IMPORT_TYPES[stage]
        fields = _field_names(kind)
        return _convert({**{k: v for k, v in common.items() if k in fields}, **own}, kind, source, where)
    return _convert({**common, **own}, ROW_TYPES[stage], source, where, common=common, stage=stage)


def _known_common(common: dict[str, Any], stage: str, source: str) -> None:
    """A misspelt common value is refused even where the table has no rows."""
    allowed = _field_names(ROW_TYPES[stage]) | _field_names(IMPORT_TYPES.get(stage))
    for key in common:
        _known(key, sorted(allowed | {ROWS, *SIDE_TABLES.get(stage, {})}), source, f"{stage}.")


def _field_names(kind: Any) -> set[str]:
    members = getattr(kind, "__args__", (kind,)) if kind is not None else ()
    names: set[str] = set()
    for member in members:
        config = member.__struct_config__
        names |= set(member.__struct_encode_fields__) | ({config.tag_field} if config.tag_field else set())
    return names


def _known(key: Any, allowed: Any, source: str, prefix: str) -> None:
    if key not in allowed:
        near = difflib.get_close_matches(str(key), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(allowed)}"
        raise Refusal(f"{source}: {prefix}{key} is not a parameter; {hint}")


def _convert(value: Any, kind: Any, source: str, where: str, common: Any = None, stage: str = "") -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Refusal(f"{source}: {_explain(str(error), value, kind, where, common, stage)}") from None


def _explain(message: str, value: Any, kind: Any, where: str, common: Any, stage: str) -> str:
    """One line from msgspec's message: the full key, the value, what is allowed."""
    said, _, path = message.partition(" - at `")
    keys = _follow(path.rstrip("`"), value)
    found: Any = value
    for key in keys:
        found = found[key]
    if common is not None and keys and keys[0] in common and common[keys[0]] == value.get(keys[0]):
        where = stage  # the value is a common one of the section: name it where it stands
    key = ".".join([where, *map(str, keys)])
    unknown = re.match(r"Object contains unknown field `(.*)`", said)
    absent = re.match(r"Object missing required field `(.*)`", said)
    if unknown:
        near = difflib.get_close_matches(unknown[1], sorted(_all_field_names(kind)), n=1)
        return f"{key}.{unknown[1]} is not a parameter" + (f"; did you mean {near[0]!r}?" if near else "")
    if absent:
        return f"{key}.{absent[1]} is missing"
    hint = ""
    if isinstance(found, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", found):
        hint = f" (YAML reads {found} as text: write a dot and a sign, such as 1.0e-3)"
    return f"{key} = {found!r}: {said[0].lower()}{said[1:]}{hint}"


def _follow(path: str, value: Any) -> list[Any]:
    """The keys that msgspec's path names; it writes mapping keys as ``[...]``, found here by looking for a fault."""
    keys: list[Any] = []
    for dotted, index in re.findall(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[(\d+|\.\.\.)\]", path):
        if dotted:
            keys.append(dotted)
        elif index.isdigit():
            keys.append(int(index))
        else:
            break
    for length in range(len(keys), -1, -1):
        found, reachable = value, True
        for key in keys[:length]:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                reachable = False
                break
        if reachable:
            return keys[:length]
    return []


def _all_field_names(kind: Any) -> set[str]:
    """Field names of a type and of all types inside it, for 'did you mean'."""
    seen: set[str] = set()
    todo, done = [kind], set()
    while todo:
        current = todo.pop()
        if id(current) in done:
            continue
        done.add(id(current))
        if hasattr(current, "__struct_fields__"):
            seen |= set(current.__struct_encode_fields__)
            todo += list(msgspec.structs.fields(current)[i].type for i in range(len(current.__struct_fields__)))
        todo += list(getattr(current, "__args__", ()))
    return seen
