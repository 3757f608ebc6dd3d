# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to JSON values and back, by their type hints alone.

The reading side is for hostile input: `parca-agent-ctl` may run as root and reads what an
unprivileged process wrote. A key it does not know is skipped (the agent may be newer), a missing
key or a wrong type is a StatusError. Integers, text and collections are bounded.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import TypeAlias, TypeVar, cast

MAX_BYTES = 1 << 20  # a real status has a few KiB
MAX_ITEMS = 4096
MAX_TEXT = 4096
MAX_INT = 1 << 63

T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class StatusError(Exception):
    """Bytes that are no status."""


def encode(value: object) -> bytes:
    """A dataclass of this package as one line of ASCII JSON."""
    return json.dumps(plain(value), allow_nan=False).encode() + b"\n"


def plain(value: object) -> Json:
    """JSON values of a dataclass tree; raises TypeError for anything else."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    raise TypeError(f"no status value: {type(value).__name__}")


def decode(kind: type[T], data: bytes) -> T:
    """The `kind` that these bytes spell; StatusError for any other bytes."""
    if len(data) > MAX_BYTES:
        raise StatusError(f"longer than {MAX_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StatusError(f"not JSON: {type(error).__name__}") from None
    return build(kind, value)


def build(kind: type[T], value: object) -> T:
    """The same from a value that json.loads returned."""
    return cast(T, _build(kind, value, kind.__name__.lower()))


@cache
def hints(kind: type) -> dict[str, object]:
    """Field to type of one dataclass, documentation stripped."""
    return dict(typing.get_type_hints(kind))


def _build(kind: object, value: object, where: str) -> object:
    if isinstance(kind, types.UnionType):
        return None if value is None else _build(kind.__args__[0], value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, _object(value, where), where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_build(inner, item, where) for item in _array(value, where))
    if origin is dict:
        inner = typing.get_args(kind)[1]
        items = _object(value, where).items()
        return {_text(key, where): _build(inner, item, where) for key, item in items}
    return _SCALARS[kind](value, where)


def _build_dataclass(kind: type, items: dict[str, object], where: str) -> object:
    missing = hints(kind).keys() - items.keys()
    if missing:
        raise StatusError(f"{where}: no {min(missing)}")
    return kind(**{k: _build(t, items[k], f"{where}.{k}") for k, t in hints(kind).items()})


def _array(value: object, where: str) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise StatusError(f"{where}: wants an array of at most {MAX_ITEMS} items")
    return value


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        raise StatusError(f"{where}: wants an object of at most {MAX_ITEMS} items")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise StatusError(f"{where}: wants text of at most {MAX_TEXT} characters")
    return value


def _integer(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= MAX_INT:
        raise StatusError(f"{where}: wants a 64-bit integer")
    return value


def _number(value: object, where: str) -> float:
    number = value if isinstance(value, float) else _integer(value, where)
    if not math.isfinite(number):
        raise StatusError(f"{where}: wants a finite number")
    return float(number)


def _truth(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise StatusError(f"{where}: wants true or false")
    return value


_SCALARS: dict[object, Callable[[object, str], object]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _truth,
}
