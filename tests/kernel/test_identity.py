# SPDX-License-Identifier: Apache-2.0
"""Whose stack is it: exec in place, reused pids, and processes of other pid namespaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kernel.agent import Agent, descendants
from tests.kernel.programs import build, running

pytestmark = pytest.mark.root

SPIN = Path(__file__).parent / "spin.c"
REUSE = Path(__file__).parent / "reuse.c"
FLAGS = ("-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-no-pie", "-static")


@pytest.fixture(scope="module")
def programs(readable):
    for name in ("alpha", "beta", "outside", "inside", "deeper"):
        build(readable / name, SPIN, f"-DPROGRAM={name}", *FLAGS)
    build(readable / "reuse", REUSE, "-O1")
    return readable


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Agent(tmp_path_factory.mktemp("agent"), hz=1999, window_seconds=2) as started:
        yield started


def programs_in(row):
    """Names of the programs that the frames of a stack are of."""
    found = (re.fullmatch(r"(alpha|beta)_(leaf|caller|root)", frame) for frame in row.stack)
    return {match[1] for match in found if match}


def check_apart(rows):
    """Each stack is of the program its labels name; both are seen, with more than a leaf."""
    whole = {"alpha": 0, "beta": 0}
    for row in rows:
        found = programs_in(row)
        assert len(found) <= 1, row
        if found:
            (name,) = found
            assert row.labels["comm"] == name, row
            assert row.labels["executable"] == name, row
            whole[name] += row.value * (row.stack[-1] != row.stack[0])
    print(f"{whole} of {sum(row.value for row in rows)} samples, {len(rows)} different")
    assert min(whole.values()) > 100, whole


def test_a_program_that_becomes_another_in_place(agent, programs):
    with running(programs / "alpha", "20", "150", programs / "beta") as process:
        assert process.wait(30) == 0
    agent.next_window()
    rows = agent.rows(pid=str(process.pid))
    check_apart(rows)
    before_its_exec = Path("/proc/self/comm").read_text().strip()
    assert {row.labels["comm"] for row in rows} - {before_its_exec} == {"alpha", "beta"}


def test_sec_12_a_pid_reused_within_one_window(agent, programs):
    with running(
        *(programs / "reuse", "20", "150", programs / "alpha", programs / "beta"),
        stdout=subprocess.PIPE,
    ) as process:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
    agent.next_window()
    check_apart(agent.rows(pid=output.decode().strip()))


def numbers(pid):
    """Pids of a process from the outermost namespace to its own."""
    text = Path(f"/proc/{pid}/status").read_text()
    return [int(number) for number in re.search(r"NSpid:\t(.*)", text)[1].split()]


def find(pid, name):
    """Pid of the descendant that runs `name`."""
    for _ in range(100):
        for one in descendants(pid):
            if Path(f"/proc/{one}/comm").read_text() == name + "\n":
                return one
        time.sleep(0.05)
    raise AssertionError(f"{name} does not run")


def test_a_process_of_a_child_pid_namespace_is_profiled_under_our_pid(agent, programs):
    with running(
        "unshare", "--pid", "--fork", "--kill-child", programs / "inside", "-1"
    ) as process:
        outer, inner = numbers(find(process.pid, "inside"))
        assert inner == 1
        agent.next_window()
        skipped = agent.outcomes()["skipped_pid_namespace"]
    rows = agent.rows(comm="inside")
    assert {row.labels["pid"] for row in rows} == {str(outer)}
    assert any("inside_leaf" in row.stack and "inside_root" in row.stack for row in rows)
    assert skipped == 0


def test_an_agent_in_a_namespace_of_its_own_skips_the_rest_and_counts_it(programs, tmp_path, agent):
    agent.stop()
    prefix = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    with (
        Agent(tmp_path, hz=99, window_seconds=1, prefix=prefix) as nested,
        running(programs / "outside", "-1"),
    ):
        enter = ("nsenter", f"--pid=/proc/{nested.supervisor}/ns/pid")
        nested.next_window()
        before = nested.outcomes()["skipped_pid_namespace"]
        deeper_command = ("unshare", "--pid", "--fork", programs / "deeper", "-1")
        with (
            running(*enter, programs / "inside", "-1") as first,
            running(*enter, *deeper_command) as second,
        ):
            inside = numbers(find(first.pid, "inside"))
            deeper = numbers(find(second.pid, "deeper"))
            nested.next_window(2)
            after = nested.outcomes()["skipped_pid_namespace"]
            for pid in (inside[0], deeper[0]):
                os.kill(pid, signal.SIGKILL)
        rows = nested.rows()
    assert (len(inside), len(deeper)) == (2, 3)
    by_name = {
        name: {row.labels["pid"] for row in rows if row.labels["comm"] == name}
        for name in ("inside", "deeper", "outside")
    }
    assert by_name == {"inside": {str(inside[1])}, "deeper": {str(deeper[1])}, "outside": set()}
    assert any("deeper_leaf" in row.stack for row in rows)
    assert after - before > 20, "the other branch of the namespace tree is not counted"
