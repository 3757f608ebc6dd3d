# SPDX-License-Identifier: Apache-2.0
"""Records stacks of running programs: python -m tests.data.stacks.record [NAME...], as root."""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.stacks import libdw
from tests.stacks.capture import Stand, recording
from tests.stacks.live import Tables, walk_stopped
from tests.stacks.recording import DIRECTORY, Recording, dumps
from tests.stacks.scenarios import SCENARIOS, Scenario, await_process
from tests.stacks.stopped import look_at, standing_still, threads_of
from tests.stacks.walker import Walker, build

WARM_UP_SECONDS = 2.0
TRIES = 400
MOST_BYTES = 65536


def _threads(pid: int, pattern: str) -> list[int]:
    if not pattern:
        return [pid]
    names = threads_of(pid).items()
    return [tid for tid, name in names if tid != pid and re.fullmatch(pattern, name)]


def _once(scenario: Scenario, walker: Walker, tables: Tables) -> Stand | None:
    """None: the stack is not what is wanted."""
    process = await_process(scenario.comms)
    candidates = _threads(process.pid, scenario.thread)
    if not candidates:
        return None
    tid = random.choice(candidates)
    with standing_still(process.pid):
        oracle = libdw.stack(tid)
        stopped = look_at(process.pid, tid)
        if not oracle.frames or oracle.frames[0].address != stopped.registers.ip:
            return None
        walked, live = walk_stopped(walker, stopped, tables)
        stand = Stand(oracle, walked, live)
        return stand if re.search(scenario.until, stand.words, re.DOTALL) else None


def record(scenario: Scenario, walker: Walker) -> Recording:
    """Stops the program until the stack is what is wanted. Raises TimeoutError."""
    tables = Tables()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        with scenario.start(directory):
            time.sleep(WARM_UP_SECONDS)
            for _ in range(TRIES):
                time.sleep(random.uniform(0.001, 0.05))
                try:
                    stand = _once(scenario, walker, tables)
                except (OSError, TimeoutError):
                    continue  # it has ended
                if stand:
                    return recording(scenario, stand)
    raise TimeoutError(f"{scenario.name}: in {TRIES} stacks none was {scenario.until}")


def main() -> int:
    """Exit code 1: not all of what was asked for could be recorded."""
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("names", nargs="*", help="what to record; all if none is said")
    names = parser.parse_args().names
    failed = False
    with tempfile.TemporaryDirectory() as name, Walker(build(Path(name))) as walker:
        for scenario in SCENARIOS:
            if names and scenario.name not in names:
                continue
            try:
                made = record(scenario, walker)
            except TimeoutError as error:
                print(error, file=sys.stderr)
                failed = True
                continue
            text = dumps(made)
            assert len(text) < MOST_BYTES, f"{scenario.name}: {len(text)} bytes"
            (DIRECTORY / f"{scenario.name}.json").write_text(text)
            ours = walker.walk(made.case())
            theirs = [frame.place for frame in made.golden]
            same = [made.place(frame) for frame in ours.frames] == theirs
            print(f"{scenario.name}: {len(theirs)} frames, {len(text)} bytes, {same=}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
