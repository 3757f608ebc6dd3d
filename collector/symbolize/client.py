# SPDX-License-Identifier: Apache-2.0
"""Asking the ELF worker, whose answers are taken for hostile: it reads hostile files.

The protocol is drawn in collector/worker/wire.py.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from collector.elf.parse_names import MAX_NAME
from collector.symbolize.extents import Extent, Range, parse_extents
from collector.symbolize.tables import UnwindTable, parse_table
from collector.worker.wire import (
    HEADER_SIZE,
    MAX_ADDRESSES,
    MAX_TABLE,
    WireError,
    body_size,
    decode,
    encode,
)

_BUILD_ID = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_MAX_SEGMENTS = 256
_LIMIT = 1 << 64
_PIECE = 1 << 18

TABLE_DEADLINE = 12.0
"""Seconds for who asks for tables; the worker's own deadline is 10."""

NameRange = tuple[int, int, str | None]
"""[start, end) of virtual addresses and the function that covers it; None where none does."""


class WorkerError(Exception):
    """No answer that can be used."""


class WorkerDiedError(WorkerError):
    """The worker ended, or broke the protocol, over this file: it should not be asked again."""


class WorkerUnavailableError(WorkerError):
    """Nobody answered in time; the file is not to blame."""


class FileRefusedError(WorkerError):
    """The worker says that the file cannot be used."""


@dataclass(frozen=True, slots=True)
class Description:
    """segments: (file offset, virtual address, size in the file) of each executable one."""

    build_id: str
    build_id_type: str
    segments: tuple[tuple[int, int, int], ...]


class ElfClient:
    """One connection to the worker's socket, made when needed. For one thread.

    deadline is what one call may take, in seconds; it is longer than the worker's own, so
    that a file that keeps the worker busy too long shows as the worker's end.
    """

    def __init__(self, socket_path: str, deadline: float = 5.0) -> None:
        self._path = socket_path
        self._deadline = deadline
        self._connection: socket.socket | None = None

    def describe(self, fd: int) -> Description:
        """Build id and segments of an open executable. Raises WorkerError."""
        answer = self._call({"op": "describe"}, fd)
        with self._distrusted():
            return parse_description(answer)

    def names(self, fd: int, addresses: list[int]) -> tuple[NameRange, ...]:
        """The function at each virtual address, in order. Raises WorkerError."""
        answers: list[NameRange] = []
        for first in range(0, len(addresses), MAX_ADDRESSES):
            batch = addresses[first : first + MAX_ADDRESSES]
            answer = self._call({"op": "names", "addresses": batch}, fd)
            with self._distrusted():
                answers += parse_names(answer, batch)
        return tuple(answers)

    def unwind(self, fd: int) -> UnwindTable:
        """The unwind table of an open executable. Raises WorkerError."""
        answer, rest = self._call_with_rest({"op": "unwind"}, fd)
        with self._distrusted():
            return parse_table(answer, rest)

    def plan(self, fd: int, mapped: int, present: list[Range]) -> tuple[Extent, ...]:
        """What is still wanted of an executable of which `fd` holds what is present; `mapped` is
        the file offset of an executable mapping. Raises WorkerError."""
        answer = self._call({"op": "plan", "mapped": mapped, "present": present}, fd)
        with self._distrusted():
            return parse_extents(answer)

    def close(self) -> None:
        """Drop the connection; the next call makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _distrusted(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            self.close()
            raise WorkerDiedError(f"the worker's answer: {error}") from error

    def _call(self, request: dict[str, Any], fd: int) -> dict[str, Any]:
        return self._call_with_rest(request, fd)[0]

    def _call_with_rest(self, request: dict[str, Any], fd: int) -> tuple[dict[str, Any], bytes]:
        """The answer, and the bytes behind it that an answer to `unwind` announces."""
        deadline = time.monotonic() + self._deadline
        reused = self._connection is not None
        try:
            return self._exchange(request, fd, deadline)
        except WorkerDiedError:
            # An idle worker ends by itself, and its old connection with it: ask a fresh one.
            if not reused:
                raise
        return self._exchange(request, fd, deadline)

    def _exchange(
        self, request: dict[str, Any], fd: int, deadline: float
    ) -> tuple[dict[str, Any], bytes]:
        try:
            connection = self._connected(deadline)
        except OSError as error:
            raise WorkerUnavailableError(f"{self._path}: {error}") from error
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            try:
                _remaining(connection, deadline)
                message = encode(request)
                sent = socket.send_fds(connection, [message], [fd])
                if sent < len(message):
                    connection.sendall(message[sent:])
                size = body_size(_receive(connection, HEADER_SIZE, deadline))
                answer = decode(_receive(connection, size, deadline))
                refused = isinstance(answer.get("error"), str)
                follows = 0 if refused or request["op"] != "unwind" else _size(answer)
                rest = _receive(connection, follows, deadline)
            except TimeoutError as error:
                raise WorkerUnavailableError("no answer in time") from error
            except (OSError, WireError) as error:
                raise WorkerDiedError(str(error)) from error
            stack.pop_all()
        if refused:
            raise FileRefusedError(answer["error"][:MAX_NAME])
        return answer, rest

    def _connected(self, deadline: float) -> socket.socket:
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                _remaining(connection, deadline)
                connection.connect(self._path)
            except OSError:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _remaining(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        _remaining(connection, deadline)
        chunk = connection.recv(min(size - len(data), _PIECE))
        if not chunk:
            raise WireError("the worker ended")
        data += chunk
    return bytes(data)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LIMIT:
        raise WireError("a number is expected")
    return value


def _size(answer: dict[str, Any]) -> int:
    size = _number(answer.get("bytes"))
    if size > MAX_TABLE:
        raise WireError(f"a table of {size} bytes")
    return size


def _list(value: object, longest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise WireError("a list is expected")
    return value


def parse_description(answer: dict[str, Any]) -> Description:
    """Any object gives a description or WireError."""
    build_id, kind = answer.get("build_id"), answer.get("build_id_type")
    if not isinstance(build_id, str) or not _BUILD_ID.fullmatch(build_id):
        raise WireError("no build id")
    if kind not in ("gnu", "hash"):
        raise WireError("no type of build id")
    segments = []
    for segment in _list(answer.get("segments"), _MAX_SEGMENTS):
        offset, address, size = (_number(value) for value in _exactly_three(segment))
        segments.append((offset, address, size))
    return Description(build_id, kind, tuple(segments))


def parse_names(answer: dict[str, Any], addresses: list[int]) -> list[NameRange]:
    """Any object gives one range for each address, which lies within it, or WireError."""
    rows = _list(answer.get("names"), MAX_ADDRESSES)
    if len(rows) != len(addresses):
        raise WireError("not one name for each address")
    names: list[NameRange] = []
    for row, address in zip(rows, addresses, strict=True):
        start, end, name = _exactly_three(row)
        if not _number(start) <= address < _number(end):
            raise WireError("a range without its address")
        names.append((start, end, _name(name)))
    return names


def _exactly_three(row: object) -> list[Any]:
    row = _list(row, 3)
    if len(row) != 3:
        raise WireError("three values are expected")
    return row


def _name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not name or not name.isprintable():
        raise WireError("a name does not print")
    if len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise WireError("a name is too long")
    return name
