# SPDX-License-Identifier: Apache-2.0
"""The two sets of maps: flip, drain, and only when the window is safe, empty.

    sequence n:  programs fill set n & 1            control.sequence = n
    flip:        control.sequence = n + 1, then active_set[0] = the other set
    drain:       read set n & 1, which nobody writes any more
    written:     the spool has window n on disk
    empty:       delete what was read

A collector killed anywhere in this finds out from control.sequence, from which set is active
and from the newest window in the spool what is left to do; resume() does it. So a sample is
neither lost nor written twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from collector.model import RawSample, Stack, Window
from collector.read import decode
from libbpf.maps import Map

_FIRST = bytes(4)


@dataclass(frozen=True, slots=True)
class Drained:
    """A window and the keys to delete once it is safe."""

    window: Window
    sample_keys: list[bytes]
    stack_keys: list[bytes]


class Aggregation:
    """The collector's hold on the two sets. Times come from `clock` (CLOCK_MONOTONIC, ns)."""

    def __init__(
        self,
        generation: int,
        maps: dict[str, Map],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._generation = generation
        self._maps = maps
        self._clock = clock
        self.sequence = decode.sequence_of(maps["control"].lookup(_FIRST) or bytes(16))
        self._started = clock()
        self._started_wall = time.time_ns()

    def beat(self) -> None:
        """Tells the sampler that somebody is there to read."""
        self._maps["control"].update(_FIRST, decode.control(self._clock(), self.sequence))

    def stop(self) -> None:
        """Takes the heartbeat away: the next sample finds nobody and is not taken."""
        self._maps["control"].update(_FIRST, decode.control(0, self.sequence))

    def resume(self, written: tuple[int, int] | None) -> Drained | None:
        """Finishes what a killed collector began; the set it left behind, if any.

        `written` is (generation, sequence) of the newest window in the spool.
        """
        self._activate()
        left = self._drain(self.sequence - 1) if self.sequence else None
        if left is None or (not left.sample_keys and not left.stack_keys):
            return None
        if written == (self._generation, left.window.sequence):
            self.empty(left)
            return None
        return left

    def flip(self, *, beating: bool = True) -> Drained:
        """Starts the next window; the one that ended, drained."""
        ended, wall, now = self.sequence, time.time_ns(), self._clock()
        self.sequence = ended + 1
        if beating:
            self.beat()
        else:
            self.stop()
        self._activate()
        drained = self._drain(ended)
        self._started, self._started_wall = now, wall
        return drained

    def empty(self, drained: Drained) -> None:
        """Deletes what was drained: the set is ready to become the active one."""
        number = drained.window.sequence & 1
        self._maps[f"samples_{number}"].remove(drained.sample_keys)
        self._maps[f"stacks_{number}"].remove(drained.stack_keys)

    def _activate(self) -> None:
        # Returns when no program uses the other set any more: see active_set in bpf/maps.h.
        inner = self._maps[f"set_{self.sequence & 1}"]
        self._maps["active_set"].update(_FIRST, inner.fd.to_bytes(4, "little"))

    def _drain(self, sequence: int) -> Drained:
        number = sequence & 1
        stacks: dict[int, Stack] = {}
        stack_keys: list[bytes] = []
        for key, value in self._maps[f"stacks_{number}"].items():
            stacks[int.from_bytes(key, "little")] = decode.stack(value)
            stack_keys.append(key)
        samples: list[RawSample] = []
        sample_keys: list[bytes] = []
        for key, value in self._maps[f"samples_{number}"].items():
            samples.append(decode.sample(key, value))
            sample_keys.append(key)
        window = Window(
            generation=self._generation,
            sequence=sequence,
            time_ns=self._started_wall,
            duration_ns=max(self._clock() - self._started, 1),
            samples=tuple(samples),
            stacks=stacks,
        )
        return Drained(window, sample_keys, stack_keys)
