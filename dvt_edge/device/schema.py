"""JSON as frozen dataclasses: one reader for every file that a user may have edited, and JSON Schemas of them.

Types are checked field by field by `from_json`, rules across fields in a class's `__post_init__` with `require`.
Reading needs only the standard library.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal

from dvt_edge.errors import SchemaError


def require(ok: bool, message: str) -> None:
    """For `__post_init__`: a ValueError that `from_json` turns into one line with its place."""
    if not ok:
        raise ValueError(message)


def from_json(kind: Any, value: Any, where: str) -> Any:
    """`value`, as json.loads gives it, as a `kind`: a dataclass, tuple, dict, Literal, union or plain type.

    Raises SchemaError naming the place and what was found; unknown fields are errors.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return dataclass_from_json(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (inner,) = (a for a in args if a is not type(None))
        return from_json(inner, value, where)
    if origin is Literal:
        if isinstance(value, str) and value in args:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(from_json(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    elif origin is dict:
        if isinstance(value, dict):
            return {key: from_json(args[1], item, f"{where}.{key}") for key, item in value.items()}
    elif kind is Any:
        return value
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    elif type(value) is kind:
        return value
    wanted = " or ".join(map(repr, args)) if origin is Literal else getattr(kind, "__name__", str(kind))
    raise SchemaError(f"{where}: found {shorten(value)}; expected {wanted}")


def dataclass_from_json(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: found {shorten(value)}; expected an object")
    hints, fields = field_types(kind), dataclasses.fields(kind)
    if unknown := value.keys() - hints.keys():
        raise SchemaError(f"{where}: unknown field {min(unknown)!r}")
    values = {}
    for f in fields:
        if f.name in value:
            values[f.name] = from_json(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{where}: the field {f.name!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from error


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json(text: str | bytes, where: str) -> Any:
    """json.loads that refuses NaN and infinity. Raises SchemaError."""

    def refuse(constant: str) -> None:
        raise SchemaError(f"{where}: {constant} is not a JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{where}: not JSON ({error})") from error


def read_json(kind: Any, path: Path) -> Any:
    """The file at `path` as a `kind`. Raises SchemaError naming the file and the place in it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read ({error.strerror})") from error
    return from_json(kind, parse_json(text, str(path)), str(path))


def dump_json(value: Any) -> str:
    """A dataclass as the JSON that `from_json` reads."""
    return json.dumps(dataclasses.asdict(value), indent=1, allow_nan=False) + "\n"


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a dataclass, closed against unknown fields. Needs pydantic."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(kind).json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for definition in (schema, *schema.get("$defs", {}).values()):
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False
    return schema
