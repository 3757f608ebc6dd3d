# SPDX-License-Identifier: Apache-2.0
"""The two sets of maps: flip, drain, and only when the window is safe, empty.

    sequence n:  programs fill set n & 1            control.sequence = n
    flip:        control.sequence = n + 1, then active_set[0] = the other set
    drain:       read set n & 1, which nobody writes any more
    written:     the spool has window n on disk
    empty:       delete what was read

A collector killed anywhere in this finds out from control.sequence and from the newest window in
the spool what is left to do; resume() does it. So a sample is neither lost nor written twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from collector.model import RawSample, Stack, Window, Written
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
    """The collector's hold on the two sets. Times come from `clock` (CLOCK_MONOTONIC, ns).

    identity is Pins.identity. resumed says that a collector before this one did not end in order.
    """

    def __init__(
        self,
        identity: int,
        maps: dict[str, Map],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._generation = identity
        self._maps = maps
        self._clock = clock
        self._last_beat, self.sequence = decode.control_of(
            maps["control"].lookup(_FIRST) or bytes(16)
        )
        self.resumed = self._last_beat != 0
        self._started_wall = time.time_ns()
        self._started = clock()

    def beat(self) -> None:
        """Tells the sampler that somebody is there to read."""
        self._maps["control"].update(_FIRST, decode.control(self._clock(), self.sequence))

    def stop(self) -> None:
        """Takes the heartbeat away: the next sample finds nobody and is not taken."""
        self._maps["control"].update(_FIRST, decode.control(0, self.sequence))

    def resume(self, written: Written | None) -> Drained | None:
        """Finishes what a killed collector began; the set it left behind, if any.

        `written` is the newest window in the spool.
        """
        self._activate()
        ended = self.sequence - 1
        ours = written if written and written.generation == self._generation else None
        if self.resumed:
            self._restart_clock(ours, ended)
        left = self._drain(ended) if ended >= 0 else None
        if left is None or (not left.sample_keys and not left.stack_keys):
            return None
        if ours and ours.sequence == ended:
            self.empty(left)
            return None
        return self._dated(left, ours)

    def _restart_clock(self, ours: Written | None, ended: int) -> None:
        """The window being filled began when the one before it ended. Where the spool does not
        say when, the last heartbeat does: the one of the flip, if only the flip was done."""
        wall, now = time.time_ns(), self._clock()
        began = wall - max(now - self._last_beat, 0)
        if ours and ours.sequence == ended:
            began = min(ours.end_ns, wall)
        self._started_wall, self._started = began, now - (wall - began)

    def _dated(self, left: Drained, ours: Written | None) -> Drained:
        """A window left behind lasted from the end of the one before it to the flip."""
        began = left.window.time_ns
        if ours and ours.sequence == left.window.sequence - 1:
            began = min(ours.end_ns, began)
        length = max(left.window.time_ns - began, 1)
        return replace(left, window=replace(left.window, time_ns=began, duration_ns=length))

    def flip(self, *, beating: bool = True) -> Drained:
        """Starts the next window; the one that ended, drained.

        Not beating, it is the last one: no sample is taken after it, so none is left behind.
        """
        ended, wall, now = self.sequence, time.time_ns(), self._clock()
        if not beating:
            self.stop()
            self._activate()  # whoever saw the heartbeat has counted its sample when this returns
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
