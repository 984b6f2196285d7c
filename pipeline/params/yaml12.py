"""YAML as its version 1.2 reads it, for every parameter file: DVC writes and reads that, PyYAML alone knows 1.1.

Numbers and booleans follow the core schema (yaml.org/spec/1.2.2, section 10.3): ``1e-05`` is a number, ``yes`` a text.
What the two versions read as different values is refused by name, so that nobody who knows one of them is misled.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from pipeline.errors import Refusal

TAG = "tag:yaml.org,2002:"
MERGE_TAG = f"{TAG}merge"
CORE = (
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        "float",
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
    ),
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("merge", re.compile(r"<<")),
)
OF_1_1 = yaml.SafeLoader("")  # what the other version takes a text for


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader by the rules of 1.2; a key given twice is refused rather than the first one lost."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as PyYAML declares it

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """The tag of a node."""
        if kind is not yaml.ScalarNode or not implicit[0]:
            return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        name = next((name for name, form in CORE if form.fullmatch(value)), "str")
        return TAG + name


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, quoting a text that either version would take for something else."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """The tag that a reader would give a plain text."""
        tag = str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if kind is yaml.ScalarNode and implicit[0] and tag == f"{TAG}str":
            return TAG + next((name for name, form in CORE if form.fullmatch(value)), "str")
        return tag


# Breaks of a line to YAML 1.1 and no more to 1.2; between single quotes they would be folded into a blank.
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")


def _represent_str(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{TAG}str", text, style='"' if _OTHER_BREAKS.search(text) else None)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    number = int(text, 0) if text.startswith("0x") else int(text[2:], 8) if text.startswith("0o") else int(text)
    _refuse_if_read_otherwise(node, number)
    return number


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(node.value).lower().replace(".inf", "inf").replace(".nan", "nan"))


def _construct_str(loader: _Loader, node: yaml.ScalarNode) -> str:
    if not node.style:  # neither quoted nor a block
        _refuse_if_read_otherwise(node, str(node.value))
    return str(node.value)


def _refuse_if_read_otherwise(node: yaml.ScalarNode, value: Any) -> None:
    """Raise a Refusal where YAML 1.1 reads this plain scalar as another value than ``value``."""
    tag = OF_1_1.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
    if tag == f"{TAG}str" and not isinstance(value, str):
        return  # 0o17 is a number in 1.2 alone: nobody means a text by it
    plain = yaml.ScalarNode(tag, node.value)
    other = OF_1_1.construct_object(plain, deep=True)
    if other != value:
        meant = "true or false" if isinstance(other, bool) else " or ".join(dict.fromkeys(map(str, (other, value))))
        raise Refusal(
            f"line {node.start_mark.line + 1}: {node.value} is {value!r} in YAML 1.2, as DVC reads it, and {other!r} "
            f"in 1.1: write {meant}, or quote it for a text"
        )


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE_TAG:
            continue
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if not isinstance(key, Hashable):
            raise Refusal(f"line {key_node.start_mark.line + 1}: {key!r} is no key; put text with braces in quotes")
        if key in seen:
            raise Refusal(f"line {key_node.start_mark.line + 1}: the key {key!r} is given twice")
        seen.add(key)
    loader.flatten_mapping(node)  # type: ignore[no-untyped-call]
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True)  # type: ignore[no-untyped-call]
        for k, v in node.value
    }


_Dumper.add_representer(str, _represent_str)
_Loader.add_constructor(f"{TAG}int", _construct_int)
_Loader.add_constructor(f"{TAG}float", _construct_float)
_Loader.add_constructor(f"{TAG}str", _construct_str)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        Refusal: a key is given twice or is no key, or a value is another one in YAML 1.1.
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, Loader=_Loader)


def write(value: Any, **options: Any) -> str:
    """A YAML text that reads back as this value in either version; options as of ``yaml.dump``."""
    text: str = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, **options)
    return text
