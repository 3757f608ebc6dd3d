# SPDX-License-Identifier: Apache-2.0
"""Who holds what, and when: the loader under a tracer, every process of the agent from outside.

The minute of sampling without a privilege is cut to a quarter unless PARCA_AGENT_TESTS_FULL is set.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from tests.kernel.agent import Agent, descendants
from tests.kernel.programs import running
from tests.loader.stand import Stand, make
from tests.loader.tracer import BPF, CAPGET, CAPSET, PERF_EVENT_OPEN, Fail, capabilities

pytestmark = pytest.mark.root

CAP_SETPCAP, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = (1 << n for n in (8, 21, 38, 39))
WORKING = CAP_BPF | CAP_PERFMON
ALLOWED = WORKING | CAP_SYS_ADMIN
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
SAMPLING_SECONDS = 60 if os.environ.get("PARCA_AGENT_TESTS_FULL") else 15
STARTING_SECONDS = 3


class Watcher:
    """What the loader holds at the entry of each system call, from its own /proc/PID/status."""

    def __init__(self, fail=()):
        self.calls = []
        self._fail = list(fail)

    def __call__(self, call):
        self.calls.append((call.number, capabilities(call.pid)))
        if call.number == PERF_EVENT_OPEN and self._fail:
            return self._fail.pop(0)
        return None

    def at(self, *numbers):
        return [held for number, held in self.calls if number in numbers]

    def after_shedding(self):
        """From the first bpf(2) on."""
        first = next(i for i, (number, _) in enumerate(self.calls) if number == BPF)
        return self.calls[first:]


@pytest.fixture
def stand():
    with make() as made:
        yield made


def test_the_loader_holds_two_capabilities_at_each_call_that_needs_one(stand: Stand):
    watcher = Watcher()
    assert stand.load(watcher).code == 0
    assert len(watcher.at(BPF)) > 100
    assert len(watcher.at(PERF_EVENT_OPEN)) == len(os.sched_getaffinity(0))
    for held in watcher.at(BPF, PERF_EVENT_OPEN):
        assert held["CapEff"] & ~WORKING == 0
        assert held["CapPrm"] & ~ALLOWED == 0
        assert held["CapInh"] == held["CapAmb"] == 0
        assert held["NoNewPrivs"] == 1
    after_setpriv = next(
        i for i, (_, held) in enumerate(watcher.calls) if held["CapBnd"] == ALLOWED
    )
    assert all(held["CapBnd"] == ALLOWED for _, held in watcher.calls[after_setpriv:])
    assert all(held["CapEff"] & ~WORKING == 0 for _, held in watcher.after_shedding())


def test_cap_sys_admin_is_raised_for_perf_event_open_alone_and_only_if_refused(stand: Stand):
    """As where a distribution's patch wants CAP_SYS_ADMIN: each first try meets EACCES."""
    cpus = len(os.sched_getaffinity(0))
    watcher = Watcher([Fail(errno.EACCES), None] * cpus)
    assert stand.load(watcher).code == 0
    assert stand.report()["perf_event_open_with"] == "CAP_SYS_ADMIN"
    tries = [held["CapEff"] for held in watcher.at(PERF_EVENT_OPEN)]
    assert tries == [WORKING, ALLOWED] * cpus
    raised = {number for number, held in watcher.after_shedding() if held["CapEff"] & CAP_SYS_ADMIN}
    # the other two read it and give it back
    assert raised == {PERF_EVENT_OPEN, CAPGET, CAPSET}
    assert not any(held["CapEff"] & CAP_SYS_ADMIN for held in watcher.at(BPF))


def test_without_cap_sys_admin_the_refusal_names_the_remedy(stand: Stand):
    watcher = Watcher([Fail(errno.EACCES)])
    command = stand.plain("--bounding-set=-all,+bpf,+perfmon")
    ended = stand.load(watcher, command)
    assert ended.code == 2
    assert "kernel.perf_event_paranoid=2" in ended.output
    assert stand.pins() == {}


def test_the_loader_drops_the_last_capability_before_it_ends(stand: Stand):
    watcher = Watcher()
    assert stand.load(watcher).code == 0
    _, last = watcher.calls[-1]
    assert {name: last[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapAmb"), 0
    )


def test_started_by_full_root_it_sheds_the_rest_first(stand: Stand):
    watcher = Watcher()
    assert stand.load(watcher, stand.plain("--inh-caps=-all")).code == 0
    for held in watcher.at(BPF, PERF_EVENT_OPEN):
        assert held["CapEff"] & ~WORKING == 0
        assert held["CapBnd"] == ALLOWED


@pytest.mark.parametrize(
    ("bounding", "reason"),
    [
        ("+all,-setpcap", "no CAP_SETPCAP to shed the rest"),
        ("-all,+bpf,+sys_admin", "CAP_PERFMON is missing"),
        ("-all", "CAP_BPF and CAP_PERFMON is missing"),
    ],
)
def test_a_loader_that_cannot_shed_or_lacks_what_it_needs_refuses(stand: Stand, bounding, reason):
    watcher = Watcher()
    ended = stand.load(watcher, stand.plain(f"--bounding-set={bounding}"))
    assert ended.code == 2
    assert reason in ended.output
    assert len(ended.output.splitlines()) == 1
    assert watcher.at(BPF, PERF_EVENT_OPEN) == []


def age(pid):
    """Seconds since a process started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def roles(agent):
    """Role -> what it holds, of each process below the supervisor that is past its start."""
    found = {}
    for pid in descendants(agent.supervisor):
        try:
            if age(pid) < STARTING_SECONDS:
                continue
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found.setdefault(command[5].decode(), []).extend(
                capabilities(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()
            )
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked: an idle ELF worker does
    return found


def test_no_live_process_holds_anything_and_sampling_goes_on(tmp_path):
    with (
        Agent(tmp_path, hz=99, window_seconds=1) as agent,
        running("/bin/sh", "-c", "while :; do :; done"),
    ):
        began = time.monotonic()
        seen = set()
        last = agent.status()["samples"]["total"]
        growth = []
        while (elapsed := time.monotonic() - began) < 10 + SAMPLING_SECONDS:
            for role, threads in roles(agent).items():
                seen.add(role)
                for held in threads:
                    assert {name: held[name] for name in SETS} == dict.fromkeys(SETS, 0), role
                    assert (held["NoNewPrivs"], held["Seccomp"]) == (1, 2), role
                    assert held["Uid"] != 0, role
            time.sleep(2.5)
            total = agent.status()["samples"]["total"]
            if elapsed >= 10:
                growth.append(total - last)
            last = total
        assert seen == {"collect", "ship", "elf"}
        assert min(growth) > 99, growth
        print(f"{sum(growth)} samples in {SAMPLING_SECONDS} s without a privilege: {growth}")
    assert agent.process.returncode == 0, agent.output()
