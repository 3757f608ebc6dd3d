# SPDX-License-Identifier: Apache-2.0
"""One destination's loop: the next window, the answer, the cursor, and again.

One request is in flight at a time and the cursor is on disk before the next one leaves, so
that a process killed anywhere repeats at most that one.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from collector.ship.backlog import Backlog
from collector.ship.backoff import Backoff
from collector.ship.verdict import LOCAL, Answer, Verdict, judge
from collector.spool import cursor as cursors
from collector.spool.cursor import MAX_ERROR, MAX_PARKED_NAMES, Cursor
from collector.spool.errors import SpoolError, SpoolUnreadableError
from collector.spool.reader import SpoolReader


class Writer(Protocol):
    """What Transport is, as far as the loop cares."""

    def write_raw(self, request: bytes) -> Answer: ...


class Sender:
    """Ships a spool to one destination until `stop` is set.

    state_directory is a descriptor of the directory of the cursors. Raises SpoolError if
    the cursor in it is damaged: guessing would send again what has been acknowledged.
    """

    def __init__(
        self,
        destination: str,
        *,
        writer: Writer,
        spool: SpoolReader,
        state_directory: int,
        stop: threading.Event,
        backoff: Backoff,
        poll_seconds: float,
    ) -> None:
        self._writer = writer
        self._spool = spool
        self._state_directory = state_directory
        self._stop = stop
        self._backoff = backoff
        self._poll_seconds = poll_seconds
        self.cursor = replace(cursors.load(state_directory, destination), active=True)
        self._backlog = Backlog(spool, self.cursor.acknowledged)
        self._failures = 0

    def run(self) -> None:
        """Ships what there is and waits for more. Raises OSError if the spool is gone."""
        self._store()
        while not self._stop.is_set():
            name = self._backlog.next()
            if name is None:
                self._stop.wait(self._poll_seconds)
            else:
                self._ship(name)

    def _ship(self, name: str) -> None:
        payload = self._read(name)
        if payload is not None:
            self._deliver(name, payload)

    def _read(self, name: str) -> bytes | None:
        """The window's payload; None when it is settled without one, or on stop."""
        while not self._stop.is_set():
            try:
                return self._spool.read(name)[1]
            except FileNotFoundError:
                self._settle(name, vanished=self.cursor.vanished + 1)
                return None
            except SpoolUnreadableError as error:
                self._failed(Answer(LOCAL, str(error)))
            except SpoolError as error:
                self._note(Answer(LOCAL, str(error)))
                self._settle(name, corrupt=self.cursor.corrupt + 1)
                return None
        return None

    def _deliver(self, name: str, payload: bytes) -> None:
        attempts = 0
        while not self._stop.is_set():
            attempts += 1
            answer = self._writer.write_raw(payload)
            verdict = judge(answer, attempts)
            if verdict is Verdict.RETRY:
                self._failed(answer)
                continue
            if verdict is Verdict.ACCEPTED:
                self._accepted(name, len(payload))
            else:
                self._parked(name, answer)
            return

    def _accepted(self, name: str, size: int) -> None:
        if self._failures:
            _log(f"{self.cursor.destination}: delivering again after {self._failures} failures")
            self._failures = 0
        cursor = self.cursor
        self._settle(
            name,
            windows=cursor.windows + 1,
            bytes=cursor.bytes + size,
            acknowledged_time_ns=time.time_ns(),
        )

    def _parked(self, name: str, answer: Answer) -> None:
        _log(f"{self.cursor.destination}: {name} is refused for good: {_printable(answer)}")
        self._failures = 0
        self._note(answer)
        names = (*self.cursor.parked_names, name)[-MAX_PARKED_NAMES:]
        self._settle(name, parked=self.cursor.parked + 1, parked_names=names)

    def _failed(self, answer: Answer) -> None:
        """Counts, tells the first time, and waits."""
        self._failures += 1
        if self._failures == 1:
            _log(f"{self.cursor.destination}: cannot deliver, will retry: {_printable(answer)}")
        self._note(answer, attempts=self.cursor.attempts + 1)
        self._store()
        self._stop.wait(self._backoff.seconds(self._failures))

    def _note(self, answer: Answer, **counters: int) -> None:
        error = _printable(answer)
        self._update(last_error=error, last_error_time_ns=time.time_ns(), **counters)

    def _settle(self, name: str, **changes: object) -> None:
        self._update(acknowledged=name, **changes)
        self._store()

    def _update(self, **changes: object) -> None:
        change: Callable[..., Cursor] = replace
        self.cursor = change(self.cursor, **changes)

    def _store(self) -> None:
        """Until the cursor is on disk nothing else is sent, however long that takes."""
        failures = 0
        while True:
            try:
                return cursors.store(self._state_directory, self.cursor)
            except OSError as error:
                failures += 1
                if failures == 1:
                    _log(f"{self.cursor.destination}: cannot store the cursor: {error.strerror}")
            if self._stop.wait(self._backoff.seconds(failures)):
                return None


def _printable(answer: Answer) -> str:
    """The server's words are hostile: no control characters, and only so many of them."""
    text = str(answer)[:MAX_ERROR]
    return "".join(character if character.isprintable() else "?" for character in text)


def _log(message: str) -> None:
    print(f"parca-agent ship: {message}", file=sys.stderr, flush=True)
