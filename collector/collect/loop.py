# SPDX-License-Identifier: Apache-2.0
"""The collector's main loop: heartbeats, events, windows, status, and the end.

One thread, one epoll. Windows last window_seconds with some jitter, so that a fleet does not
drain, write and ship in step; a set that fills up ends its window early.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time

from collector import heap
from collector.collect import snapshot
from collector.collect.snapshot import Parts
from collector.model import Written
from collector.read import decode
from collector.read.aggregation import Aggregation, Drained
from collector.status.server import StatusServer
from libbpf.ringbuf import RingBuffer

HEARTBEAT_SECONDS = 1.0
EVENT_PAUSE_SECONDS = 0.005
"""After events came, how long the next ones may wait: a fork storm wakes us 200 times a second."""
GENERATION_SECONDS = 5.0
JITTER = 0.1
FULL_SHARE = 0.5


class Loop:
    """Runs until SIGTERM or SIGINT, or until a newer generation is published."""

    def __init__(
        self, parts: Parts, aggregation: Aggregation, ring: RingBuffer, server: StatusServer
    ) -> None:
        self._parts = parts
        self._aggregation = aggregation
        self._ring = ring
        self._server = server
        self._epoll = select.epoll()
        self._polled: dict[int, int] = {}
        self._full = False
        self._signals = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._stored: dict[str, int] = {}
        self._next_beat = self._next_window = self._next_generation = 0.0
        self._ring_waits = False
        self._ring_again = 0.0

    def run(self) -> int:
        self._prepare()
        while not self._stopping:
            self._wait()
            now = time.monotonic()
            if now >= self._next_beat:
                self._beat(now)
            if now >= self._next_window or self._full:
                self._window(beating=True)
                heap.trim()
            if now >= self._next_generation:
                self._look_for_generation(now)
        self._window(beating=False)
        return 0

    # --- steps --------------------------------------------------------------------------

    def _prepare(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for fd in (
            self._ring.map_fd,
            self._server.fileno(),
            self._parts.reader.wakeup,
            self._signals,
        ):
            self._epoll.register(fd, select.EPOLLIN)
        last = self._parts.spool.last_header
        left = self._aggregation.resume(
            Written(last.generation, last.sequence, last.time_ns + last.duration_ns)
            if last
            else None
        )
        self._aggregation.beat()
        if left is not None:
            self._keep(left)
            self._aggregation.beat()
        self._next_beat = time.monotonic() + HEARTBEAT_SECONDS
        self._next_generation = time.monotonic() + GENERATION_SECONDS
        counted = snapshot.counters(self._parts.pins)
        self._parts.rates.update(time.monotonic(), counted)
        self._note_stored(counted)
        self._schedule_window()
        if self._aggregation.resumed:  # how full the set is by now, nobody has counted
            self._next_window = time.monotonic()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._signals, 1)

    def _wait(self) -> None:
        now = time.monotonic()
        settle = self._parts.pipeline.settle()
        due = min(self._next_beat, self._next_window, self._next_generation)
        if self._ring_waits:
            due = min(due, self._ring_again)
        timeout = min(due - now, settle if settle is not None else due - now)
        for fd, _ in self._epoll.poll(max(0.0, timeout)):
            if fd == self._ring.map_fd:
                self._ring_waits = True
            elif fd == self._parts.reader.wakeup:
                self._parts.pipeline.on_answers(self._parts.reader.collect())
            elif fd == self._server.fileno():
                self._server.handle(time.monotonic())
        if self._ring_waits and time.monotonic() >= self._ring_again:
            self._read_events()
        self._poll_set()

    def _read_events(self) -> None:
        while raw := self._ring.read():
            self._parts.pipeline.on_events(decode.events(raw))
        self._ring_waits = False
        self._ring_again = time.monotonic() + EVENT_PAUSE_SECONDS

    def _poll_set(self) -> None:
        """Leaves out what has to wait: the ring for a moment, the socket while it is flooded."""
        ring = 0 if self._ring_waits else select.EPOLLIN
        server = select.EPOLLIN if self._server.wants(time.monotonic()) else 0
        for fd, wanted in ((self._ring.map_fd, ring), (self._server.fileno(), server)):
            if self._polled.get(fd) != wanted:
                self._epoll.modify(fd, wanted)
                self._polled[fd] = wanted

    def _beat(self, now: float) -> None:
        self._aggregation.beat()
        self._parts.reader.check_deadlines()
        self._next_beat = now + HEARTBEAT_SECONDS
        counted = snapshot.counters(self._parts.pins)
        snapshot.look_back(self._parts, counted)
        self._note_fill(counted)

    def _window(self, *, beating: bool) -> None:
        before = self._parts.executables.counters
        trouble = before.worker_died + before.worker_unavailable
        counted = snapshot.counters(self._parts.pins)
        began = time.thread_time_ns()
        drained = self._aggregation.flip(beating=beating)
        self._parts.pipeline.counters.drain_cpu_ns += time.thread_time_ns() - began
        self._note_stored(counted)
        self._keep(drained)
        after = self._parts.executables.counters
        self._parts.worker_failing = after.worker_died + after.worker_unavailable > trouble
        self._parts.last_window = time.monotonic()
        self._parts.rates.update(self._parts.last_window, counted)
        self._schedule_window()

    def _keep(self, drained: Drained) -> None:
        self._parts.pipeline.process(drained.window)
        self._aggregation.empty(drained)

    def _schedule_window(self) -> None:
        length = self._parts.config.window_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load, guards nothing
        self._next_window = time.monotonic() + length

    def _note_stored(self, counted: dict[str, int]) -> None:
        """From here on a new set fills."""
        self._stored = counted
        self._note_fill(counted)

    def _note_fill(self, counted: dict[str, int]) -> None:
        active = self._aggregation.sequence & 1
        self._parts.fill = {
            f"{kind}_{active}": counted[f"{kind}_stored"] - self._stored[f"{kind}_stored"]
            for kind in ("samples", "stacks")
        }
        self._full = any(
            entries > FULL_SHARE * self._parts.pins.maps[name].max_entries
            for name, entries in self._parts.fill.items()
        )

    def _look_for_generation(self, now: float) -> None:
        self._next_generation = now + GENERATION_SECONDS
        if self._parts.pins.newest_generation() > self._parts.pins.generation:
            self._stopping = True
