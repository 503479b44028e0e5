"""JSON as frozen dataclasses: one reader for every file that a user may have edited, and JSON Schemas of them.

Types are checked field by field by `from_json`, rules across fields in a class's `__post_init__` with `require`.
Reading needs only the standard library.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import sys
import types
import typing
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from dvt_edge.errors import SchemaError, one_line

MAX_INTEGER = 2**53 - 1
MAX_NUMBER = 400  # characters
MAX_DEPTH = 64
MAX_JSON = 16 * 2**20  # bytes
MAX_VALUES = 250_000  # commas and opening brackets outside strings: a value takes some 100 times its bytes
BETWEEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[^][{}",]++', re.DOTALL)  # all but brackets and commas outside strings


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
            return {key: from_json(args[1], item, f"{where}.{named(key)}") for key, item in value.items()}
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


def named(key: str) -> str:
    """A key of the file inside a message: without what would break its line."""
    return key if key.isprintable() and len(key) <= 60 else shorten(key)


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json(text: str | bytes, where: str) -> Any:
    """One strict JSON value: the dialect of docs/manifest.md, which is the same in every language.

    UTF-8 without a byte-order mark, no duplicate keys, no lone surrogates, at most `MAX_DEPTH` levels and `MAX_VALUES`
    values, integers that float64 holds exactly, and other numbers finite in it. Raises SchemaError.
    """

    def refuse(found: str) -> SchemaError:
        return SchemaError(f"{where}: not JSON ({found})")

    def constant(token: str) -> None:
        raise refuse(f"{token} is not a JSON number")

    def integer(token: str) -> int:
        if len(token) > 17 or abs(int(token)) > MAX_INTEGER:
            raise refuse(f"the integer {shorten(token)} is beyond 2^53 - 1")
        return int(token)

    def number(token: str) -> float:
        if len(token) > MAX_NUMBER or not math.isfinite(float(token)):
            raise refuse(f"the number {shorten(token)} is not finite in float64, or too long")
        return float(token)

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise refuse(f"the key {shorten(twice)} stands twice")
        return found

    try:
        if len(text) > MAX_JSON:
            raise refuse(f"{len(text)} bytes; expected at most {MAX_JSON}")
        text = text.decode() if isinstance(text, bytes) else text
        check_structure(text)
        value = json.loads(
            text, parse_constant=constant, parse_int=integer, parse_float=number, object_pairs_hook=fields
        )
        if "\\u" in text or not text.isascii():
            json.dumps(value, ensure_ascii=False).encode()  # raises where a surrogate stands alone
    except ValueError as error:
        raise refuse(one_line(error)) from error
    return value


def check_structure(text: str) -> None:
    """Raises ValueError for a JSON text of too many values or levels, before any of them is built."""
    marks = BETWEEN.sub("", text)
    values = marks.count(",") + marks.count("[") + marks.count("{")
    if values > MAX_VALUES:
        raise ValueError(f"{values} values; expected at most {MAX_VALUES}")
    depth = 0
    for mark in marks.replace(",", ""):
        depth += 1 if mark in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")


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
