# SPDX-License-Identifier: Apache-2.0
"""YAML text into frozen dataclasses: the dataclass is the schema.

A field's type says what is allowed (bool, int, float, str, a tuple of these, another
dataclass, or a tuple of them); `limits` and `matching` narrow it. All errors are reported at
once, each with the key and with what would have been allowed.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Hashable
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

FILE_BYTES = 1 << 20

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration file that is refused; one line per reason, each naming file and key."""

    def __init__(self, file: str, reasons: list[str]) -> None:
        super().__init__("\n".join(f"{file}: {reason}" for reason in reasons))
        self.reasons = reasons


def limits(default: float | None, low: float, high: float) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A number from low to high, both allowed. Without a default (None) the key is needed."""
    metadata = {"limits": (low, high)}
    if default is None:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def matching(default: str | None, pattern: str, allowed: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A text that the whole of pattern matches; `allowed` says the same to a human."""
    metadata = {"pattern": pattern, "allowed": allowed}
    if default is None:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(path: Path, kind: type[T]) -> T:
    """The file at path as a `kind`; ConfigError when it cannot be read or is not one."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    return parse(text, kind, str(path))


def parse(text: bytes, kind: type[T], file: str) -> T:
    """Bytes of a YAML mapping as a `kind`; ConfigError otherwise. `file` is for messages."""
    if len(text) > FILE_BYTES:
        raise ConfigError(file, [f"is larger than {FILE_BYTES} bytes"])
    try:
        # _Loader is a SafeLoader: it builds plain values only.
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(file, [f"is not YAML: {_one_line(error)}"]) from None
    reasons: list[str] = []
    try:
        value = _build(kind, {} if document is None else document, "", reasons)
    except RecursionError:
        raise ConfigError(file, ["is nested too deeply"]) from None
    if reasons:
        raise ConfigError(file, reasons)
    return typing.cast(T, value)


def _build(kind: type[Any], document: object, prefix: str, reasons: list[str]) -> object:
    """`document` as the dataclass `kind`, or None with at least one more reason."""
    if not isinstance(document, dict):
        reasons.append(f"{prefix.rstrip('.') or 'the document'}: must be a mapping of keys")
        return None
    schema = {one.name: one for one in fields(kind)}
    hints = typing.get_type_hints(kind)
    before = len(reasons)
    for key in document:
        if key not in schema:
            known = ", ".join(sorted(schema))
            reasons.append(f"{prefix}{_shown(key)}: unknown key; allowed are {known}")
    values = {}
    for name, one in schema.items():
        if name in document:
            values[name] = _value(hints[name], one, document[name], prefix + name, reasons)
        elif one.default is MISSING and one.default_factory is MISSING:
            reasons.append(f"{prefix}{name}: is missing; {_allowed(hints[name], one)}")
    return kind(**values) if len(reasons) == before else None


def _value(hint: object, one: Field[Any], value: object, key: str, reasons: list[str]) -> object:
    if is_dataclass(hint):
        return _build(typing.cast(type, hint), value, key + ".", reasons)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            reasons.append(f"{key}: must be a list")
            return None
        return tuple(
            _value(item, one, element, f"{key}[{index}]", reasons)
            for index, element in enumerate(value)
        )
    if not _fits(hint, one, value):
        reasons.append(f"{key}: {_shown(value)} is not allowed; {_allowed(hint, one)}")
        return None
    return float(typing.cast(float, value)) if hint is float else value


def _fits(hint: object, one: Field[Any], value: object) -> bool:
    kinds = (int, float) if hint is float else (hint,)
    # bool is a subclass of int, but `frequency: yes` is a mistake.
    if type(value) not in kinds:
        return False
    if "limits" in one.metadata:
        low, high = one.metadata["limits"]
        return bool(low <= typing.cast(float, value) <= high)
    if "pattern" in one.metadata:
        return re.fullmatch(one.metadata["pattern"], typing.cast(str, value)) is not None
    return True


def _allowed(hint: object, one: Field[Any]) -> str:
    if "allowed" in one.metadata:
        return str(one.metadata["allowed"])
    words: dict[object, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
    }
    text = words.get(hint, "a list" if typing.get_origin(hint) is tuple else "a mapping of keys")
    if "limits" in one.metadata:
        low, high = one.metadata["limits"]
        text += f" from {low} to {high}"
    return text


def _shown(value: object) -> str:
    """A short, printable picture of a value; long or nested ones only by their kind."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if not isinstance(value, str) else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
