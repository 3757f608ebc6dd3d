# SPDX-License-Identifier: Apache-2.0
"""All windows of a run as one: every label set with its stacks and their counts."""

from __future__ import annotations

from collector.model import Frame, Profile

MAX_ROWS = 1_000_000
"""Different (label set, stack) pairs that are kept; about 1 GiB of memory at 40 frames."""

Labels = tuple[tuple[str, str], ...]


class Merged:
    """frames and stacks are tables; rows maps (label set, index into stacks) to its count.

    A stack is a tuple of indices into frames, leaf first. Samples that found no room are
    counted in left_out.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.stacks: list[tuple[int, ...]] = []
        self.rows: dict[tuple[Labels, int], int] = {}
        self.left_out = 0
        self.samples = 0
        self.windows = 0
        self.duration_ns = 0
        self.first_ns = 0
        self.last_ns = 0
        self.period_ns = 0
        self._frame_ids: dict[Frame, int] = {}
        self._stack_ids: dict[tuple[int, ...], int] = {}

    def add(self, profile: Profile, time_ns: int, duration_ns: int) -> None:
        """Add one window that began at time_ns (Unix time) and lasted duration_ns."""
        for series in profile.series:
            labels = tuple(pair for pair in series.labels if not pair[0].startswith("__"))
            for frames, count in series.samples:
                self._add_row(labels, frames, count)
        self.windows += 1
        self.duration_ns += duration_ns
        self.first_ns = min(self.first_ns, time_ns) if self.windows > 1 else time_ns
        self.last_ns = max(self.last_ns, time_ns + duration_ns)
        self.period_ns = profile.period_ns or self.period_ns

    def _add_row(self, labels: Labels, frames: tuple[Frame, ...], count: int) -> None:
        stack = tuple(self._frame_id(frame) for frame in frames)
        key = (labels, self._stack_id(stack))
        if key not in self.rows and len(self.rows) >= MAX_ROWS:
            self.left_out += count
            return
        self.rows[key] = self.rows.get(key, 0) + count
        self.samples += count

    def _frame_id(self, frame: Frame) -> int:
        number = self._frame_ids.get(frame)
        if number is None:
            number = self._frame_ids[frame] = len(self.frames)
            self.frames.append(frame)
        return number

    def _stack_id(self, stack: tuple[int, ...]) -> int:
        number = self._stack_ids.get(stack)
        if number is None:
            number = self._stack_ids[stack] = len(self.stacks)
            self.stacks.append(stack)
        return number
