# SPDX-License-Identifier: Apache-2.0
"""loader.conf: `key = value` lines, numbers and one choice, from a file only root can write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from loader.errors import Refusal

MAX_BYTES = 4096


class Config(NamedTuple):
    """What the loader may be told. frequency in Hz; window_seconds bounds the heartbeat;
    unwind_memory_mib bounds the unwind tables, 0 means by the machine's memory."""

    frequency: int = 19
    mode: str = "auto"
    window_seconds: int = 10
    threads: int = 0
    unwinding: str = "auto"
    unwind_memory_mib: int = 0
    ignore_unsafe_kernel: int = 0
    pins_directory: str = "/run/parca-agent/bpf"
    pins_group: int = 0
    report: str = "/run/parca-agent/loader.json"


def number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        return text

    return parse


def absolute_path(text: str) -> str:
    if not text.startswith("/run/") or ".." in text.split("/") or len(text) > 200:
        raise ValueError("an absolute path below /run without '..'")
    return text


SCHEMA: dict[str, Callable[[str], int] | Callable[[str], str]] = {
    "frequency": number(1, 100000),
    "mode": choice("auto", "perf"),
    "window_seconds": number(1, 600),
    "threads": number(0, 1),
    "unwinding": choice("auto", "frame_pointers"),
    "unwind_memory_mib": number(0, 1024),
    "ignore_unsafe_kernel": number(0, 1),
    "pins_directory": absolute_path,
    "pins_group": number(0, 2**32 - 2),
    "report": absolute_path,
}


def parse(text: str, name: str) -> Config:
    """Config from the file's text; Refusal names file, line and what is allowed."""
    values: dict[str, int | str] = {}
    for line_number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        place = f"{name}:{line_number}"
        if not equals or key not in SCHEMA:
            raise Refusal(f"{place}: expected `key = value` with a key of {', '.join(SCHEMA)}")
        if key in values:
            raise Refusal(f"{place}: {key} is set twice; keep one of the lines")
        try:
            values[key] = SCHEMA[key](value)
        except ValueError as error:
            raise Refusal(f"{place}: {key} must be {error}") from None
    return Config(**values)  # type: ignore[arg-type] # SCHEMA's parsers give each field its type


def read(path: str) -> Config:
    """Config from `path`, which must be a regular file that only root can change."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}; the loader's configuration must exist") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
            raise Refusal(f"{path}: must be a regular file, owned and writable by root alone")
        raw = os.read(fd, MAX_BYTES + 1)
    finally:
        os.close(fd)
    if len(raw) > MAX_BYTES:
        raise Refusal(f"{path}: longer than {MAX_BYTES} bytes")
    return parse(raw.decode("ascii", "replace"), path)
