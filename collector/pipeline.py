# SPDX-License-Identifier: Apache-2.0
"""One window through the stages: mappings, symbolize, label, encode, spool.

This module alone knows them all. It raises nothing for a window that cannot be kept: what is
lost is counted, by samples.
"""

from __future__ import annotations

import contextlib
import errno
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

from collector.encode import writeraw
from collector.feed.feeder import Feeder
from collector.label.labels import Host, labels
from collector.mappings import records
from collector.mappings.ended import Ended, EndedError, ended
from collector.mappings.files import Files
from collector.mappings.reader import Answer, MappingReader
from collector.mappings.table import Known, ProcessTable
from collector.model import Frame, Mapping, Process, ProcessId, Profile, RawSample, Series, Window
from collector.read.decode import Event
from collector.spool.errors import SpoolError
from collector.spool.format import Header
from collector.spool.writer import Spool
from collector.symbolize import resolve
from collector.symbolize.user import Executables
from libbpf import abi, iterators
from libbpf.errors import BpfError

SETTLE_SECONDS = (0.02, 0.2)
"""When to walk a process after exec: the dynamic linker has mapped its libraries by then, and
most programs have ended. One that is sampled before is walked at once."""
EXEC_WALKS_PER_SECOND = 50
"""Walks because of an exec or a mapping; those because of a sample are bounded by its rate."""
MAPPING_WAIT_SECONDS = 1.0
ENDED_BATCH = 64
UNKNOWN_OF_THE_GONE = ("ppid", "uid")


class ElementMap(Protocol):
    """What is used of libbpf.maps.Map."""

    def update(self, key: bytes, value: bytes) -> None: ...
    def items(self, batch: int) -> Iterator[tuple[bytes, bytes]]: ...
    def remove(self, keys: list[bytes]) -> None: ...


@dataclass(slots=True)
class PipelineCounters:
    """The field names are the counters' names."""

    windows: int = 0
    samples_drained: int = 0
    samples_spooled: int = 0
    samples_not_spooled: int = 0
    exited_before_mapped: int = 0
    ended_used: int = 0
    exec_walks_skipped: int = 0
    mapped_walks_skipped: int = 0
    miss_walks_skipped: int = 0
    windows_failed: int = 0
    drain_cpu_ns: int = 0
    resolve_cpu_ns: int = 0
    encode_cpu_ns: int = 0


class Pipeline:
    """What the collector knows of this host, and what it does with a window.

    Without a feeder nobody is told which executables need unwind tables.
    """

    def __init__(
        self,
        *,
        reader: MappingReader,
        task_program: int,
        kernel: resolve.KernelFrames,
        executables: Executables,
        feeder: Feeder | None,
        spool: Spool,
        ended: ElementMap,
        file_tables: ElementMap,
        host: Host,
        period_ns: int,
        threads: bool,
        first_walk: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.processes = ProcessTable()
        self.files = Files()
        self.counters = PipelineCounters()
        self.last_stacks = 0
        self.last_processes = 0
        self.spool_writable = True
        self.newest_window = ""
        self._reader = reader
        self._task_program = task_program
        self._kernel = kernel
        self._executables = executables
        self._feeder = feeder
        self._spool = spool
        self._ended = ended
        self._file_tables = file_tables
        self._host = host
        self._period_ns = period_ns
        self._threads = threads
        self._clock = clock
        self.files.learn(mapping for _, mapping, _ in records.mapped_files(first_walk).values())
        self._settling: list[tuple[float, ProcessId, bool]] = []
        self._exec_budget = float(EXEC_WALKS_PER_SECOND)
        self._exec_budget_at = clock()

    # --- between windows ----------------------------------------------------------------

    def on_events(self, events: Sequence[Event]) -> None:
        gone = {event.process for event in events if event.kind == abi.EVENT_EXIT}
        if gone:
            self._settling = [entry for entry in self._settling if entry[1] not in gone]
        for event in events:
            if event.kind == abi.EVENT_MISS:
                self._on_miss(event.process)
            elif event.kind == abi.EVENT_MAPPED:
                self._on_mapped(event.process)
            elif event.kind == abi.EVENT_EXIT:
                self.processes.end(event.process)
            elif event.kind == abi.EVENT_EXEC:
                before = replace(event.process, exec_id=event.process.exec_id - 1)
                self.processes.end(before)
                if event.process not in gone:
                    self._on_exec(event.process)

    def _on_miss(self, process: ProcessId) -> None:
        """Walks again, but ever less often where the last walks brought nothing new."""
        known = self.processes.get(process)
        if known and self._clock() < known.walk_again:
            self.counters.miss_walks_skipped += 1
            self._feed(process, known.latest)
        else:
            self._reader.ask(process.pid)

    def _on_mapped(self, process: ProcessId) -> None:
        """Nobody was sampled: what was recorded is a file to be learnt, or too much."""
        known = self.processes.get(process)
        if known and self._clock() < known.walk_again:
            self.counters.mapped_walks_skipped += 1
            self._feed(process, known.latest)
        elif not self._may_walk():
            self.counters.mapped_walks_skipped += 1
        else:
            self._reader.ask(process.pid)

    def _on_exec(self, process: ProcessId) -> None:
        """An exec of which nothing was recorded. A process that is known is not walked for it."""
        if not self._may_walk():
            self.counters.exec_walks_skipped += 1
            return
        now = self._clock()
        first, second = SETTLE_SECONDS
        self._settling += [(now + first, process, True), (now + second, process, False)]

    def _may_walk(self) -> bool:
        now = self._clock()
        gained = (now - self._exec_budget_at) * EXEC_WALKS_PER_SECOND
        self._exec_budget = min(EXEC_WALKS_PER_SECOND, self._exec_budget + gained)
        self._exec_budget_at = now
        if self._exec_budget < 1:
            return False
        self._exec_budget -= 1
        return True

    def settle(self) -> float | None:
        """Asks for the walks that are due; seconds until the next one."""
        if not self._settling:
            return None
        now = self._clock()
        waiting = []
        for due, process, first in self._settling:
            if due > now:
                waiting.append((due, process, first))
            elif first or self.processes.get(process):  # else it had ended before the first walk
                self._reader.ask(process.pid)
        self._settling = waiting
        return min((due - now for due, _, _ in waiting), default=None)

    def on_answers(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            if answer.id is None:
                continue
            known = self.processes.get_or_add(answer.id)
            known.process = answer.process or known.process
            known.set_mappings(answer.mappings, self._clock())
            self._tell_known(self.files.learn(answer.mappings))
            self._feed(answer.id, answer.mappings)

    def _feed(self, process: ProcessId, mappings: Sequence[Mapping]) -> None:
        if self._feeder is not None:
            self._feeder.wanted(process, mappings)

    def _tell_known(self, files: Iterable[int]) -> None:
        """So that the kernel side does not ask for a walk each time somebody maps them. Where
        there is a feeder, it does so when it has made up its mind about the file."""
        for number in files if self._feeder is None else ():
            with contextlib.suppress(BpfError):  # full: it will ask again
                self._file_tables.update(number.to_bytes(8, "little"), bytes(4))

    # --- one window ---------------------------------------------------------------------

    def process(self, window: Window) -> None:
        """A drained window into the spool; when this returns, its samples are kept or counted."""
        total = sum(sample.count for sample in window.samples)
        self.counters.windows += 1
        self.counters.samples_drained += total
        self.last_stacks = len(window.stacks)
        header = Header(
            window.generation, window.sequence, window.time_ns, window.duration_ns, total
        )
        try:
            self.newest_window = self._spool.write(header, self._encoded(window))
        except SpoolError:
            self.spool_writable = False
            self.counters.samples_not_spooled += total
        except Exception:  # noqa: BLE001 - else this window would stop the collector again and again
            traceback.print_exc()
            self.counters.windows_failed += 1
            self.counters.samples_not_spooled += total
        else:
            self.spool_writable = True
            self.counters.samples_spooled += total
        self.processes.forget_ended()

    def _encoded(self, window: Window) -> bytes:
        """The window as it is spooled; counts what the stages took of this thread's time."""
        began = time.thread_time_ns()
        self._complete(window)
        self._executables.start_window()
        profile = self._profile(window)
        resolved = time.thread_time_ns()
        payload = writeraw.encode(profile)
        self.counters.resolve_cpu_ns += resolved - began
        self.counters.encode_cpu_ns += time.thread_time_ns() - resolved
        return payload

    def _complete(self, window: Window) -> None:
        """Reads what is missing about the processes of this window while they may still live."""
        self._take_ended()
        by_process = {sample.process: sample for sample in window.samples}
        self.last_processes = len(by_process)
        unmapped = [
            process
            for process, sample in by_process.items()
            if sample.user_stack and not self._known(process).mapped
        ]
        for process in unmapped:
            self._reader.ask(process.pid)
        deadline = self._clock() + MAPPING_WAIT_SECONDS
        while unmapped and not self._reader.idle and self._clock() < deadline:
            time.sleep(0.001)
        self.on_answers(self._reader.collect())
        self.counters.exited_before_mapped += sum(
            not self._known(process).mapped for process in unmapped
        )
        for process in by_process:
            known = self._known(process)
            if known.process is None:
                known.process = self._ask_task(process)

    def _take_ended(self) -> None:
        """What sampled processes had mapped at their end, some of them too soon to be walked."""
        keys = []
        for key, value in self._ended.items(ENDED_BATCH):
            keys.append(key)
            try:
                self._use_ended(ended(key, value))
            except EndedError:
                traceback.print_exc()
        self._ended.remove(keys)

    def _use_ended(self, gone: Ended) -> None:
        mappings, unknown = self.files.mappings(gone)
        if self._feeder is None:  # the kernel side thinks we know: the next process shall tell
            self._file_tables.remove([number.to_bytes(8, "little") for number in unknown])
        known = self._known(gone.id)
        known.ended = max(known.ended, 1)
        if known.process is None:
            known.process = Process(
                gone.id, gone.parent_pid, gone.uid, "", gone.cgroup_id, kernel_thread=False
            )
        if mappings:
            self.counters.ended_used += not known.mapped
            known.replace(mappings)

    def _known(self, process: ProcessId) -> Known:
        return self.processes.get_or_add(process)

    def _ask_task(self, process: ProcessId) -> Process | None:
        try:
            raw = iterators.read(self._task_program, "task", tid=process.pid)
            return next((task for task in records.tasks(raw) if task.id == process), None)
        except (BpfError, records.RecordError) as error:
            if getattr(error, "errno", errno.ESRCH) != errno.ESRCH:
                raise
            return None

    def _profile(self, window: Window) -> Profile:
        by_process: dict[ProcessId, list[RawSample]] = {}
        for sample in window.samples:
            by_process.setdefault(sample.process, []).append(sample)
        series = [
            one
            for process, samples in by_process.items()
            for one in self._series(process, samples, window)
        ]
        return Profile(window.time_ns, window.duration_ns, self._period_ns, tuple(series))

    def _series(self, process: ProcessId, samples: list[RawSample], window: Window) -> list[Series]:
        """The samples of one process: one series, or one for each name it had."""
        known = self._known(process)
        stacks = {
            s.user_stack: window.stacks[s.user_stack]
            for s in samples
            if s.user_stack in window.stacks
        }
        frames = resolve.process_frames(
            known.find if known.mapped else None, stacks.values(), self._executables
        )
        user = {key: resolve.user_stack(stack, frames) for key, stack in stacks.items()}
        by_labels: dict[tuple[tuple[str, str], ...], dict[tuple[Frame, ...], int]] = {}
        by_comm: dict[str, dict[tuple[Frame, ...], int]] = {}
        for sample in samples:
            kernel = window.stacks.get(sample.kernel_stack)
            whole = (self._kernel.frames(kernel) if kernel else ()) + user.get(
                sample.user_stack, ()
            )
            counts = by_comm.get(sample.comm)
            if counts is None:
                counts = by_labels.setdefault(self._labels(known, sample), {})
                by_comm[sample.comm] = counts
            counts[whole or (resolve.GONE,)] = (
                counts.get(whole or (resolve.GONE,), 0) + sample.count
            )
        return [Series(key, tuple(counts.items())) for key, counts in by_labels.items()]

    def _labels(self, known: Known, sample: RawSample) -> tuple[tuple[str, str], ...]:
        process = known.process or Process(
            sample.process, 0, 0, sample.comm, 0, kernel_thread=False
        )
        if not self._threads or not process.comm:
            process = replace(process, comm=sample.comm)
        thread = sample.comm if self._threads else None
        executable = PurePath(known.executable).name if known.executable else ""
        pairs = labels(process, thread, executable, self._host)
        if known.process is None:  # gone before it could be asked: better no label than a wrong one
            pairs = tuple(pair for pair in pairs if pair[0] not in UNKNOWN_OF_THE_GONE)
        return pairs
