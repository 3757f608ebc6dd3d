# SPDX-License-Identifier: Apache-2.0
"""Whom to blame when the ELF worker does not answer, and when to ask again."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from collector.symbolize.candidate import Identity, Opened, Refusal, RefusedError
from collector.symbolize.client import (
    Description,
    ElfClient,
    FileRefusedError,
    NameRange,
    WorkerDiedError,
    WorkerUnavailableError,
)
from collector.symbolize.extents import Extent, Range
from collector.symbolize.tables import UnwindTable

PAUSE_SECONDS = 5.0
"""After nobody answered: how long nobody is asked."""

WINDOW_SECONDS = 4.0
"""What all questions of one window may take together: hostile files must not keep the collector
from its heartbeat, however many there are. What was not asked is asked in the next window."""

MAX_DEATHS = 2
"""A worker may also die for reasons of its own, once."""

MAX_BLAMED = 1024

_T = TypeVar("_T")


@dataclass(slots=True)
class Counters:
    """Since start. refused counts by reason, once for each mapped file and retry."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    worker_died: int = 0
    worker_unavailable: int = 0
    over_budget: int = 0
    evicted_executables: int = 0
    evicted_symbols: int = 0


class Asker:
    """Questions to the worker; every failure becomes a RefusedError."""

    def __init__(self, client: ElfClient, counters: Counters, clock: Callable[[], float]) -> None:
        self._client = client
        self._counters = counters
        self._clock = clock
        self._ask_again = clock()
        self._asked_seconds = 0.0
        self._deaths: OrderedDict[tuple[Identity, str], int] = OrderedDict()

    def start_window(self) -> None:
        """From here on questions have WINDOW_SECONDS again."""
        self._asked_seconds = 0.0

    def describe(self, opened: Opened) -> Description:
        """Build id and segments of an open file. Raises RefusedError."""
        return self._ask("describe", opened, lambda: self._client.describe(opened.fd))

    def names(self, opened: Opened, addresses: list[int]) -> tuple[NameRange, ...]:
        """The functions at virtual addresses of an open file. Raises RefusedError."""
        return self._ask("names", opened, lambda: self._client.names(opened.fd, addresses))

    def unwind(self, opened: Opened) -> UnwindTable:
        """The unwind table of an open file. Raises RefusedError."""
        return self._ask("unwind", opened, lambda: self._client.unwind(opened.fd))

    def plan(self, opened: Opened, mapped: int, present: list[Range]) -> tuple[Extent, ...]:
        """What is still wanted of an image, see ElfClient.plan. Raises RefusedError."""
        return self._ask("plan", opened, lambda: self._client.plan(opened.fd, mapped, present))

    def _ask(self, what: str, opened: Opened, question: Callable[[], _T]) -> _T:
        blame = (opened.identity, what)
        if self._deaths.get(blame, 0) >= MAX_DEATHS:
            raise RefusedError(Refusal.KILLED_WORKER)
        if self._clock() < self._ask_again:
            raise RefusedError(Refusal.WORKER_UNAVAILABLE)
        if self._asked_seconds >= WINDOW_SECONDS:
            self._counters.over_budget += 1
            raise RefusedError(Refusal.WORKER_UNAVAILABLE)
        began = self._clock()
        try:
            return question()
        except FileRefusedError as error:
            raise RefusedError(Refusal.NOT_ELF) from error
        except WorkerDiedError as error:
            self._counters.worker_died += 1
            self._deaths[blame] = self._deaths.pop(blame, 0) + 1
            if len(self._deaths) > MAX_BLAMED:
                self._deaths.popitem(last=False)
            raise RefusedError(Refusal.WORKER_UNAVAILABLE) from error
        except WorkerUnavailableError as error:
            self._counters.worker_unavailable += 1
            self._ask_again = self._clock() + PAUSE_SECONDS
            raise RefusedError(Refusal.WORKER_UNAVAILABLE) from error
        finally:
            self._asked_seconds += self._clock() - began
