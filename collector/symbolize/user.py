# SPDX-License-Identifier: Apache-2.0
"""User frames: from addresses in a mapping to executables, virtual addresses and functions."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

from collector.elf.parse_names import escaped, shortened
from collector.model import Executable, Frame, Mapping, MappingFlag
from collector.symbolize.asking import PAUSE_SECONDS, Asker, Counters
from collector.symbolize.candidate import (
    DELETED,
    Identity,
    Opened,
    Refusal,
    RefusedError,
    identity_of,
    refusal_by_file,
    refusal_by_mapping,
)
from collector.symbolize.client import Description, ElfClient
from collector.symbolize.opener import Opener
from collector.symbolize.ranges import KnownFunctions

RECHECK_SECONDS = 10.0
"""How long a file is taken for unchanged without a stat(2)."""

RETRY_SECONDS = 60.0
"""How long a refusal stands; a package upgrade or a mount may have changed the answer."""

MAX_KNOWN = 65_536
_PASSING = frozenset({Refusal.WORKER_UNAVAILABLE, Refusal.HANGS})


@dataclass(slots=True)
class _Entry:
    """What is known of one mapped file; without an identity it was refused."""

    executable: Executable
    expires: float
    unmapped: Frame
    identity: Identity | None = None
    description: Description | None = None
    functions: KnownFunctions | None = None
    learning: bool = True
    """Until its file is gone, or was found to have no symbols that can be read."""


_FileKey = tuple[int, int, str, bool]
"""Device, inode and path; of what has none of these, whether it is the vDSO."""


class Executables:
    """The executables of this host, as mappings show them. For one thread; nothing raises.

    limit bounds the files remembered, MAX_KNOWN the ranges and frames of all together; the
    longest unused go first. clock is in seconds and never goes back.
    """

    def __init__(
        self,
        client: ElfClient,
        limit: int = 1024,
        opener: Opener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._asker = Asker(client, self.counters, clock)
        self._limit = limit
        self._opener = opener or Opener()
        self._clock = clock
        self._entries: OrderedDict[_FileKey, _Entry] = OrderedDict()
        self._known = 0

    def __len__(self) -> int:
        return len(self._entries)

    def start_window(self) -> None:
        """To be called before the frames of a window: the worker's time is bounded per window."""
        self._asker.start_window()

    def executable(self, mapping: Mapping) -> Executable:
        """The file behind a mapping, or a bracketed name that says why there is none."""
        return self._entry(mapping).executable

    def frames(self, mapping: Mapping, pcs: Iterable[int]) -> dict[int, Frame]:
        """A frame for every pc of this mapping; pcs are virtual addresses in the process.

        Without a description of the file, address is 0 and function empty.
        """
        entry = self._entry(mapping)
        if entry.description is None or entry.functions is None:
            return dict.fromkeys(pcs, entry.unmapped)
        segments = entry.description.segments
        addresses = {pc: _virtual_address(mapping, segments, pc) for pc in pcs}
        before = len(entry.functions)
        unknown = entry.functions.unknown(a for a in addresses.values() if a is not None)
        if unknown and entry.learning:
            self._learn(mapping, entry, unknown)
        frames = {pc: _frame(entry, address) for pc, address in addresses.items()}
        self._known += len(entry.functions) - before
        self._make_room(entry)
        return frames

    def _entry(self, mapping: Mapping) -> _Entry:
        key = _file_key(mapping, mapping.path)
        entry = self._entries.get(key)
        now = self._clock()
        if entry is not None and now >= entry.expires and not _still_true(mapping, entry, now):
            self._forget(key)
            entry = None
        if entry is None:
            entry = self._before_deletion(mapping) or self._identify(mapping, now)
            self._entries[key] = entry
            if len(self._entries) > self._limit:
                self._forget(next(iter(self._entries)))
                self.counters.evicted_executables += 1
        self._entries.move_to_end(key)
        return entry

    def _before_deletion(self, mapping: Mapping) -> _Entry | None:
        """What was learnt about a file while it still had its name."""
        if not mapping.path.endswith(DELETED):
            return None
        path = mapping.path.removesuffix(DELETED)
        known = self._entries.get(_file_key(mapping, path))
        if known is None or known.functions is None:
            return None
        functions = known.functions.copy()
        self._known += len(functions)
        return replace(known, functions=functions, learning=False)

    def _identify(self, mapping: Mapping, now: float) -> _Entry:
        try:
            with self._opened(mapping) as opened:
                description = self._asker.describe(opened)
                identity = opened.identity
        except RefusedError as error:
            self.counters.refused[error.refusal.value] += 1
            executable = _bracketed(error.refusal, mapping.path)
            passing = error.refusal in _PASSING
            expires = now + (PAUSE_SECONDS if passing else RETRY_SECONDS)
            return _Entry(executable, expires, Frame(executable, 0, ""))
        self.counters.accepted += 1
        executable = Executable(_printable(mapping.path), description.build_id)
        return _Entry(
            executable,
            now + RECHECK_SECONDS,
            Frame(executable, 0, ""),
            identity,
            description,
            KnownFunctions(executable),
        )

    @contextmanager
    def _opened(self, mapping: Mapping) -> Iterator[Opened]:
        """The mapping's own file, open. Raises RefusedError."""
        refusal = refusal_by_mapping(mapping)
        if refusal is not None:
            raise RefusedError(refusal)
        opened = self._opener.open(mapping.path)
        try:
            refusal = refusal_by_file(mapping, opened)
            if refusal is not None:
                raise RefusedError(refusal)
            yield opened
        finally:
            os.close(opened.fd)

    def _learn(self, mapping: Mapping, entry: _Entry, addresses: list[int]) -> None:
        """Ask for the functions at `addresses`; what stays unknown may be asked for again."""
        assert entry.functions is not None
        try:
            with self._opened(mapping) as opened:
                if opened.identity != entry.identity:
                    entry.expires = self._clock()
                    return
                answers = self._asker.names(opened, addresses)
        except RefusedError as error:
            entry.learning = error.refusal in _PASSING
            return
        for start, end, name in answers:
            entry.functions.add(start, end, name or "")

    def _make_room(self, in_use: _Entry) -> None:
        """Empty the functions of executables longest unused, until all fit."""
        for entry in self._entries.values():
            if self._known <= MAX_KNOWN:
                return
            if entry.functions is None or not len(entry.functions):
                continue
            if entry is in_use and len(entry.functions) <= MAX_KNOWN:
                continue
            self.counters.evicted_symbols += len(entry.functions)
            self._known -= len(entry.functions)
            entry.functions = KnownFunctions(entry.executable)

    def _forget(self, key: _FileKey) -> None:
        entry = self._entries.pop(key)
        if entry.functions is not None:
            self._known -= len(entry.functions)


def _file_key(mapping: Mapping, path: str) -> _FileKey:
    return mapping.device, mapping.inode, path, bool(mapping.flags & MappingFlag.VDSO)


def _still_true(mapping: Mapping, entry: _Entry, now: float) -> bool:
    """Whether nobody wrote to an accepted file; only a path once found local is looked at.

    A file replaced or removed, as an upgrade does, is still what the mapping maps.
    """
    if entry.identity is None:
        return False
    seen = identity_of(mapping.path)
    if seen is not None and seen[:2] == entry.identity[:2] and seen != entry.identity:
        return False
    entry.expires = now + RECHECK_SECONDS
    return True


def _frame(entry: _Entry, address: int | None) -> Frame:
    if address is None or entry.functions is None:
        return entry.unmapped
    if not entry.learning:
        return entry.functions.frame(address) or entry.functions.nameless(address)
    return entry.functions.frame(address) or Frame(entry.executable, address, "")


def _virtual_address(
    mapping: Mapping, segments: tuple[tuple[int, int, int], ...], pc: int
) -> int | None:
    """The ELF virtual address of a pc: by its place in the file, which both sides know."""
    offset = pc - mapping.start + mapping.offset
    for start, address, size in segments:
        if start <= offset < start + size:
            return address + offset - start
    return None


_KINDS = {Refusal.DELETED: "deleted", Refusal.REMOTE: "remote"}
_NAMELESS = {Refusal.VDSO: "[vdso]", Refusal.ANONYMOUS: "[anon]"}


@lru_cache(maxsize=4096)
def _bracketed(refusal: Refusal, path: str) -> Executable:
    if refusal in _NAMELESS:
        return Executable(_NAMELESS[refusal], "")
    name = os.path.basename(path.removesuffix(DELETED))  # noqa: PTH119 - any text may come
    return Executable(f"[{_KINDS.get(refusal, 'unreadable')} {shortened(escaped(name))}]", "")


def _printable(path: str) -> str:
    """The path for people; of one that is too long, the name at its end."""
    text = escaped(path)
    if shortened(text) == text:
        return text
    return shortened(text.rsplit("/", 1)[-1])
