# SPDX-License-Identifier: Apache-2.0
"""Programs without frame pointers whose call chains are known: whole stacks, leaf to bottom.

One agent looks at all of them at once, as they share the machine's CPUs.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.kernel.agent import Agent
from tests.kernel.chains.known import KNOWN, build
from tests.kernel.programs import running

pytestmark = pytest.mark.root

HZ = 997
WARM_UP_SECONDS = 15
SECONDS = 30
GOAL, GATE = 0.995, 0.99
FEWEST = 200
"""Samples of a program, for a share of 1 % to be told."""


@pytest.fixture(scope="module")
def profiled(tmp_path_factory, readable):
    """{name: (program, count of each stack in words)} of what was sampled after the warm-up."""
    with ThreadPoolExecutor(2) as pool:
        wanted = [one for one in KNOWN if not one.missing]
        built = list(pool.map(lambda known: build(known, readable), wanted))
    directory = tmp_path_factory.mktemp("agent")
    with Agent(directory, hz=HZ, window_seconds=2) as agent, ExitStack() as stack:
        started = [
            stack.enter_context(running(*one.command, stderr=subprocess.DEVNULL)) for one in built
        ]
        time.sleep(WARM_UP_SECONDS)
        begin = time.time_ns()
        time.sleep(SECONDS)
        agent.next_window()
        assert all(process.poll() is None for process in started)
        profiles = [one for one in agent.profiles() if one.time_ns >= begin]
    stacks = {str(process.pid): Counter() for process in started}
    programs = dict(zip(stacks, built, strict=True))
    for series in (one for profile in profiles for one in profile.series):
        pid = dict(series.labels)["pid"]
        for frames, count in series.samples if pid in stacks else ():
            if words := programs[pid].words(frames):
                stacks[pid][words] += count
    return {programs[pid].known.name: (programs[pid], found) for pid, found in stacks.items()}


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_whole_chains(known, profiled):
    if known.missing:
        pytest.skip(f"{known.missing} is not installed")
    program, stacks = profiled[known.name]
    total = stacks.total()
    wrong = Counter({words: n for words, n in stacks.items() if not program.expected(words)})
    share = 1 - wrong.total() / max(total, 1)
    verdict = "" if share >= GOAL else f", below the goal of {GOAL:.1%}"
    print(f"{known.name}: {share:.2%} of {total} stacks are as expected{verdict}")
    for words, count in wrong.most_common(8):
        print(f"{count:6} {shortened(words)}")
    assert total >= FEWEST
    for start in known.seen:
        seen = sum(count for words, count in stacks.items() if words.startswith(start))
        assert seen > total / 100, f"{start} in {seen} of {total}"
    assert share >= GATE


def shortened(words):
    return words if len(words) < 600 else f"{words[:300]} … {words[-300:]}"
