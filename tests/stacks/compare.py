# SPDX-License-Identifier: Apache-2.0
"""Our walks beside libdw's: python -m tests.stacks.compare [--stacks N] [NAME...], as root.

Each program of tests/stacks/scenarios.py is stopped at random moments, and the same stopped stack
is walked by libdw and by the unwinder of bpf/ compiled for this machine. Frames are compared one by
one, by address. Where libdw gives up, the frames it found are compared, and it is said how often.
Exit status 1: less than 99.5 % of the frames agree in a program of C or C++.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.stacks import libdw
from tests.stacks.capture import name_of, section_at
from tests.stacks.live import LiveWalk, Tables, addresses, walk_stopped
from tests.stacks.scenarios import SCENARIOS, Scenario, await_process
from tests.stacks.stopped import look_at, running_threads, standing_still
from tests.stacks.walker import End, Walked, Walker, build

STACKS = 60
SECONDS = 40.0
WARM_UP_SECONDS = 2.0
MAX_FRAMES = 127
AGREEMENT = 0.995
OTHER_LANGUAGES = frozenset({"go", "rust", "rust-panic"})


@dataclass
class Tally:
    """Frames of one program; classes says where the first frame of a stack lies that differs."""

    stacks: int = 0
    frames: int = 0
    agree: int = 0
    gave_up: int = 0
    """Stacks in which libdw came to no bottom."""
    farther: int = 0
    """Those of them that we walked to a bottom."""
    classes: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return self.agree / max(self.frames, 1)

    def add(self, oracle: libdw.Stack, walked: Walked, live: LiveWalk) -> None:
        theirs, ours = addresses(live.stopped, oracle.frames)[:MAX_FRAMES], list(walked.frames)
        self.stacks += 1
        if oracle.error:
            self.gave_up += 1
            self.farther += walked.end == End.COMPLETE
            while theirs and not live.is_code(theirs[-1] - 1):
                theirs.pop()  # what it could not go on from
            ours = ours[: len(theirs)]
        same = sum(a == b for a, b in zip(theirs, ours, strict=False))
        self.frames += max(len(theirs), len(ours))
        self.agree += same
        if same < max(len(theirs), len(ours)):
            self.classes[_class(theirs, ours, walked, live)] += 1


def _class(theirs: list[int], ours: list[int], walked: Walked, live: LiveWalk) -> str:
    """What was the last frame both have, and what comes then."""
    index = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
    index = min(len(theirs), len(ours)) if index is None else index
    at = _place(live, ours[index - 1]) if index else "the leaf"
    if index >= len(ours):
        return f"behind {at} we end, {walked.end.name.lower()}"
    if index >= len(theirs):
        return f"behind {at} libdw ends"
    return f"behind {at} libdw has {_place(live, theirs[index])}, we {_place(live, ours[index])}"


def _place(live: LiveWalk, address: int) -> str:
    mapping = live.stopped.mapping_at(address)
    if mapping is None:
        return "no mapping"
    return f"{name_of(mapping)} {section_at(live.stopped, mapping, address)}"


def compare(scenario: Scenario, walker: Walker, stacks: int) -> Tally:
    """So many stacks, or fewer when they take too long."""
    found, tables = Tally(), Tables()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with scenario.start(directory):
            time.sleep(WARM_UP_SECONDS)
            end = time.monotonic() + SECONDS
            while found.stacks < stacks and time.monotonic() < end:
                time.sleep(random.uniform(0.001, 0.02))
                try:
                    _one(scenario, walker, tables, found)
                except (OSError, TimeoutError):
                    continue  # it has ended
    return found


def _one(scenario: Scenario, walker: Walker, tables: Tables, found: Tally) -> None:
    pid = await_process(scenario.comms).pid
    tid = random.choice(running_threads(pid) or [pid])
    with standing_still(pid):
        oracle = libdw.stack(tid)
        stopped = look_at(pid, tid)
        if not oracle.frames or oracle.frames[0].address != stopped.registers.ip:
            return
        found.add(oracle, *walk_stopped(walker, stopped, tables))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.stacks.compare", description=__doc__)
    parser.add_argument("--stacks", type=int, default=STACKS, help="of each program")
    parser.add_argument("names", nargs="*", help="of scenarios; all if none is said")
    chosen = parser.parse_args(arguments)
    if missing := libdw.missing() or ("" if os.geteuid() == 0 else "needs root, to stop others"):
        print(f"compare: {missing}", file=sys.stderr)
        return 2
    total, failed = Tally(), False
    print(f"{'program':<20} stacks  frames    agree  libdw gave up  we went on")
    with tempfile.TemporaryDirectory() as name, Walker(build(Path(name))) as walker:
        for scenario in SCENARIOS:
            absent = [n for n in scenario.needs if not (shutil.which(n) or Path(n).exists())]
            if absent or (chosen.names and scenario.name not in chosen.names):
                continue
            one = compare(scenario, walker, chosen.stacks)
            print(_line(scenario.name, one), *_reasons(one), sep="\n", flush=True)
            if scenario.name not in OTHER_LANGUAGES:
                total.stacks, total.gave_up = total.stacks + one.stacks, total.gave_up + one.gave_up
                total.frames, total.agree = total.frames + one.frames, total.agree + one.agree
                total.farther += one.farther
                failed |= one.stacks == 0
    print(_line("all of C and C++", total))
    return int(failed or total.share < AGREEMENT)


def _line(name: str, one: Tally) -> str:
    return (
        f"{name:<20} {one.stacks:>6} {one.frames:>7,} {one.share:>8.2%} {one.gave_up:>14}"
        f" {one.farther:>11}"
    )


def _reasons(one: Tally) -> list[str]:
    return [f"{count:>26} {reason}" for reason, count in one.classes.most_common(5)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
