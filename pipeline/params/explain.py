"""Why a value is no good, for people: the key at fault, and what is allowed there.

A value is taken apart along its type, and the smallest part that does not convert is named.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType

from pipeline.params.types import NAME_PATTERN, REFERENCE_PATTERN

Keys = tuple[str | int, ...]
PATTERNS = {NAME_PATTERN: "a name of letters, digits, _ + -", REFERENCE_PATTERN: "a reference <stage>/<row>"}


@dataclass(frozen=True)
class Fault:
    """The first fault of a value.

    Attributes:
        keys: where in the value it is.
        says: the rest of the sentence that starts with the full key.
        of_value: a value is wrong, not a key.
    """

    keys: Keys
    says: str
    of_value: bool = True

    def below(self, key: str | int) -> Fault:
        """The same fault, seen from one level up."""
        return Fault((key, *self.keys), self.says, self.of_value)


def find_fault(value: Any, kind: Any) -> Fault | None:
    """The fault of a value that shall convert to a type; None where it has none.

    Stricter than the conversion: a kind must be named even where there is only one, and numbers are finite.
    """
    return _not_finite(value) or _locate(value, kind)


def unknown_key(key: Any, allowed: Iterable[str], where: str = "") -> str:
    """``is not a parameter``, with the key that was meant, or all that there are."""
    names = list(allowed)
    near = difflib.get_close_matches(str(key), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    return f" is not a parameter{where}; {hint}"


def allowed_values(kind: Any) -> str:
    """What a type allows, in words."""
    return " or ".join(dict.fromkeys(_in_words(member) for member in _members(kind)))


def field_names(kind: Any) -> set[str]:
    """The keys that the structs of a type know, tags included."""
    names: set[str] = set()
    for member in _members(kind):
        tag_field = member.__struct_config__.tag_field
        names |= set(member.__struct_encode_fields__) | ({tag_field} if tag_field else set())
    return names


def _converts(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _not_finite(value: Any) -> Fault | None:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            fault = _not_finite(inner)
            if fault is not None:
                return fault.below(key)
    if isinstance(value, float) and not math.isfinite(value):
        return Fault((), f" = {value!r}: must be a finite number")
    return None


def _locate(value: Any, kind: Any) -> Fault | None:
    members = _members(kind)
    structs = [member for member in members if _is_struct(member)]
    fault = None
    if isinstance(value, dict) and structs:
        fault = _in_struct(value, structs)
    elif isinstance(value, dict | list):
        for member in members:
            bare = _bare(member)
            if isinstance(value, get_origin(bare) or ()):
                fault = fault or _in_container(value, *get_args(bare))
    if fault or _converts(value, kind):
        return fault
    return Fault((), f" = {value!r}: must be {allowed_values(kind)}{_yaml_hint(value)}")


def _in_struct(value: dict[Any, Any], structs: list[Any]) -> Fault | None:
    tag_field = structs[0].__struct_config__.tag_field
    where = ""
    if tag_field:
        tags = " | ".join(sorted(str(struct.__struct_config__.tag) for struct in structs))
        if tag_field not in value:
            return Fault((tag_field,), f" is missing: {tags}", of_value=False)
        structs = [struct for struct in structs if struct.__struct_config__.tag == value[tag_field]]
        if not structs:
            return Fault((tag_field,), f" = {value[tag_field]!r}: must be {tags}")
        where = f" where {tag_field} is {value[tag_field]}"
    names = sorted(field_names(structs[0]))
    for key in value:
        if key not in names:
            return Fault((key,), unknown_key(key, names, where), of_value=False)
    for field in msgspec.structs.fields(structs[0]):
        if field.encode_name not in value:
            if field.required:
                return Fault((field.encode_name,), f" is missing: {allowed_values(field.type)}", of_value=False)
        elif fault := _locate(value[field.encode_name], field.type):
            return fault.below(field.encode_name)
    return None


def _in_container(value: Any, *kinds: Any) -> Fault | None:
    """A fault among the keys and values of a mapping, or the items of a list."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict) and not _converts(key, kinds[0]):
            return Fault((), f": the key {key!r} must be {allowed_values(kinds[0])}", of_value=False)
        if fault := _locate(inner, kinds[-1]):
            return fault.below(key)
    return None


def _members(kind: Any) -> list[Any]:
    """The members of a union, those of keys that are left out not among them; else the type itself."""
    if get_origin(kind) in (Union, UnionType):
        absent = (NoneType, UnsetType)
        return [member for part in get_args(kind) if part not in absent for member in _members(part)]
    return [kind]


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _in_words(kind: Any) -> str:
    meta: msgspec.Meta = get_args(kind)[1] if get_origin(kind) is Annotated else msgspec.Meta()
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        return " | ".join(map(str, get_args(bare)))
    if meta.pattern in PATTERNS:
        return PATTERNS[meta.pattern]
    if meta.description:
        return meta.description
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    name = names.get(get_origin(bare) or bare, "a mapping")
    bounds = [(">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt)]
    limits = " and ".join(
        f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"
        for sign, bound in bounds
        if bound is not None
    )
    length = ", not empty" if meta.min_length else ""
    if meta.min_length is not None and meta.min_length == meta.max_length:
        length = f" of {meta.min_length}"
    return name + (f" {limits}" if limits else "") + length


def _yaml_hint(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f" (YAML reads {value} as text: write a dot and a sign, such as 1.0e-3)"
    return ""
