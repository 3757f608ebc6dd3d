# SPDX-License-Identifier: Apache-2.0
"""The loop: keep the processes running, show how it goes, stop them in order."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from supervisor import status
from supervisor.service import Plan, Service
from supervisor.signals import StopSignals
from supervisor.terminal import Lines, Terminal

START_SECONDS = 1.0
"""Between two questions until the collector answers; then as often as it is shown."""
FIRST_ANSWER_SECONDS = 30.0
"""How long beyond its time a run waits for a collector that has not come up."""
LAST_QUESTION_SECONDS = 1.0
DRAIN_SECONDS = 30.0
"""For the collector to write its last window; for the others, a good deal less to do."""
READY_SECONDS = 15.0
"""For a collector that is just being started to answer, so that it can be told to end."""
DRAIN_TRIES = 2
"""A collector that is killed amid its last window leaves it to the next one."""
END_SECONDS = 5.0


class Supervisor:
    """Runs until a stop signal or for `duration` seconds of sampling."""

    def __init__(
        self,
        plans: tuple[Plan, ...],
        *,
        status_socket: Path,
        frequency: int,
        terminal: Terminal,
        stops: StopSignals,
    ) -> None:
        """plans: the collector, then those that it needs to the end."""
        self.services = [Service(plan, terminal.message) for plan in plans]
        self.answer: bytes | None = None
        self._status_socket = status_socket
        self._frequency = frequency
        self._terminal = terminal
        self._stops = stops
        self._selector = selectors.DefaultSelector()
        self._selector.register(stops.descriptor, selectors.EVENT_READ, stops.drain)
        self._question: status.Question | None = None
        self._next_question = 0.0
        self._heard = 0.0
        self._began = time.monotonic()

    @property
    def restarts(self) -> int:
        return sum(service.backoff.restarts for service in self.services)

    def run(self, duration: float | None) -> None:
        """Keep everything running; the clock starts with the collector's first answer."""
        while not self._stops.count:
            now = time.monotonic()
            end = None if duration is None else self._began + duration
            if end is not None and self.answer is None:
                end += FIRST_ANSWER_SECONDS
            if end is not None and now >= end:
                return
            self._turn(now, end)

    def drain(self, before: Callable[[], None]) -> bool:
        """End sampling with `before`, then the processes; False if a window was lost by that.

        The ELF workers stay until the collector has named its last frames. One more stop signal
        means not to wait for anything.
        """
        collector, *others = self.services
        patience = self._stops.count + 1
        before()
        for _ in range(DRAIN_TRIES):
            ready = self._wait_until_ready(collector, patience)
            self._ask_once_more()
            self._finish([collector], DRAIN_SECONDS, patience)
            if collector.status == 0 or not ready or self._stops.count >= patience:
                break
        self._finish(others, END_SECONDS, patience)
        self._selector.close()
        return collector.status == 0 or self.answer is None

    def _wait_until_ready(self, collector: Service, patience: int) -> bool:
        """Only a collector that answers can finish: one that was killed has left its window in
        the kernel, and one that is starting would end without it.
        """
        if self.answer is None:  # there never was a window
            return False
        collector.stopping, collector.due = False, 0.0
        end = time.monotonic() + READY_SECONDS
        while not self._ready and self._stops.count < patience:
            now = time.monotonic()
            if now >= end:
                return False
            self._turn(now, end)
        return True

    @property
    def _ready(self) -> bool:
        """Whether the collector that runs now has answered."""
        collector = self.services[0]
        return collector.child is not None and self._heard >= collector.started

    def _finish(self, services: list[Service], seconds: float, patience: int) -> None:
        """SIGTERM, a time to obey, SIGKILL."""
        for service in services:
            service.stop()
        end = time.monotonic() + seconds
        while any(service.child for service in services):
            now = time.monotonic()
            if now >= end or self._stops.count >= patience:
                for service in services:
                    service.stop(signal.SIGKILL)
                self._turn(now, now + END_SECONDS)
            else:
                self._turn(now, end)

    def _turn(self, now: float, end: float | None) -> None:
        """Start what is due, wait for something to happen, handle it."""
        for service in self.services:
            if service.wants_start(now):
                self._start_or_watch(service, now)
        self._ask(now)
        dues = [one.due for one in self.services if one.child is None and one.due > now]
        wake = min([self._next_question, *dues, *([end] if end is not None else [])])
        for key, _ in self._selector.select(max(0.0, wake - now)):
            key.data()

    def _start_or_watch(self, service: Service, now: float) -> None:
        listener = service.plan.listener
        if not service.plan.on_demand or listener is None:
            self._start(service, now)
        elif listener.fileno() not in self._selector.get_map():
            self._selector.register(
                listener, selectors.EVENT_READ, partial(self._start_wanted, service)
            )

    def _start_wanted(self, service: Service) -> None:
        """Somebody has connected: from now on the socket is the worker's to watch."""
        self._selector.unregister(service.plan.listener)  # type: ignore[arg-type]
        if not service.stopping:
            self._start(service, time.monotonic())

    def _start(self, service: Service, now: float) -> None:
        reader = service.start(now)
        assert service.child is not None
        self._selector.register(
            service.child.pidfd, selectors.EVENT_READ, partial(self._end, service)
        )
        show = partial(self._show, service.plan.name, reader, Lines())
        self._selector.register(reader, selectors.EVENT_READ, show)

    def _end(self, service: Service) -> None:
        assert service.child is not None
        self._selector.unregister(service.child.pidfd)
        service.ended(time.monotonic())

    def _show(self, name: str, reader: int, lines: Lines) -> None:
        data = os.read(reader, 65_536)
        for line in lines.feed(data) if data else lines.end():
            self._terminal.message(f"{name}: {line}")
        if not data:
            self._selector.unregister(reader)
            os.close(reader)

    def _ask(self, now: float) -> None:
        """Shows the newest answer, puts the next question; answering costs the collector time."""
        if now < self._next_question:
            return
        self._next_question = now + (self._terminal.interval if self._ready else START_SECONDS)
        notes = f"  {self.restarts} restarts" if self.restarts else ""
        text = status.line(now - self._began, self._frequency, self.answer, notes)
        self._terminal.status(text, now, status.shorten(text))
        if self._question is not None:
            if now - self._question.asked < status.DEADLINE_SECONDS:
                return
            self._hang_up()
        try:
            self._question = status.Question(self._status_socket, now)
        except OSError:
            return
        self._selector.register(self._question.socket, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        if self._question is not None and self._question.read():
            if self._question.answer is not None and self.answer is None:
                self._began = time.monotonic()
            if self._question.answer is not None:
                self.answer, self._heard = self._question.answer, time.monotonic()
            self._hang_up()

    def _ask_once_more(self) -> None:
        """The summary tells the outcomes of the whole run, not those of some seconds ago."""
        if self.answer is None:
            return
        if self._question is not None:
            self._hang_up()
        end = time.monotonic() + LAST_QUESTION_SECONDS
        self._next_question = 0.0
        self._ask(time.monotonic())
        while self._question is not None and time.monotonic() < end:
            self._turn(time.monotonic(), end)

    def _hang_up(self) -> None:
        assert self._question is not None
        self._selector.unregister(self._question.socket)
        self._question.close()
        self._question = None
