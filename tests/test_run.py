# SPDX-License-Identifier: Apache-2.0
"""`make run` on three programs whose profile is known: CPython, C, and one busy in the kernel.

The leaf that is expected is the function in which the program's instructions are: for a loop that
only moves local variables, CPython's evaluation loop; for large reads of /dev/zero, what clears
user memory.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.encode.proto import pprof_pb2
from tests.kernel import programs

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[1]
SECONDS = 15
BUSY = """
__attribute__((noinline)) unsigned long spin_in_c(unsigned long x)
{
	for (long i = 0; i < 100000; i++)
		x = x * 6364136223846793005UL + 1;
	return x;
}
int main(void) { volatile unsigned long x = 1; for (;;) x = spin_in_c(x); }
"""
LOOP = """
def swap(a, b):
    while True:
        a, b = b, a
swap(1, 2)
"""
# by kernel: clear_user is a function of its own before linux 6.4, inlined in its caller since
CLEARING = ("read_zero", "clear_user_rep_good", "clear_user_erms", "clear_user_original")
FILES = ("profile.pb.gz", "profile.collapsed.txt", "flamegraph.html", "summary.json")


@dataclass(frozen=True)
class Run:
    """A finished run: where its files are, and the pids of the three programs."""

    out: Path
    pids: dict[str, int]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What a run of 15 seconds left, with three programs busy meanwhile."""
    directory = tmp_path_factory.mktemp("run") / "out"
    with programs.directory() as readable:
        busy = programs.build(readable / "spin", BUSY, "-O1", "-fno-omit-frame-pointer")
        with (
            programs.running(busy) as c,
            programs.running("/usr/bin/python3", "-c", LOOP) as python,
            programs.running("dd", "if=/dev/zero", "of=/dev/null", "bs=1M", stderr=-3) as dd,
        ):
            made = subprocess.run(
                ["make", "run", f"DURATION={SECONDS}", f"OUT={directory}", "HZ=99"],
                cwd=ROOT,
                # under `make test` this make would think itself a part of that one
                env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.splitlines()[-4:] == [str(directory / name) for name in FILES]
    return Run(directory, {"c": c.pid, "python": python.pid, "dd": dd.pid})


@pytest.fixture(scope="module")
def out(run: Run) -> Path:
    return run.out


@pytest.fixture(scope="module")
def profile(out: Path) -> pprof_pb2.Profile:
    return pprof_pb2.Profile.FromString(gzip.decompress((out / "profile.pb.gz").read_bytes()))


def leaves(profile: pprof_pb2.Profile, pid: int) -> Counter[tuple[str, str]]:
    """(function, mapping) of the leaf frame, by samples of one process."""
    text = profile.string_table
    mappings = {mapping.id: text[mapping.filename] for mapping in profile.mapping}
    functions = {function.id: text[function.name] for function in profile.function}
    locations = {location.id: location for location in profile.location}
    found: Counter[tuple[str, str]] = Counter()
    for sample in profile.sample:
        labels = {text[label.key]: text[label.str] for label in sample.label}
        if labels.get("pid") != str(pid):
            continue
        leaf = locations[sample.location_id[0]]
        name = functions[leaf.line[0].function_id] if leaf.line else ""
        found[name, mappings.get(leaf.mapping_id, "")] += sample.value[0]
    return found


def test_the_four_files_are_there_and_nothing_else_stays(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert all(path.stat().st_size for path in out.iterdir())
    assert not Path("/run/parca-agent").exists()


def share(found: Counter[tuple[str, str]], *expected: str) -> float:
    """Share of the samples whose leaf is one of the functions."""
    total = sum(found.values())
    assert total > 20
    return sum(count for (name, _), count in found.items() if name in expected) / total


def test_c_is_named_by_its_function(run: Run, profile: pprof_pb2.Profile) -> None:
    found = leaves(profile, run.pids["c"])
    assert share(found, "spin_in_c") >= 0.9, found


def test_cpython_is_named_by_its_evaluation_loop(run: Run, profile: pprof_pb2.Profile) -> None:
    found = leaves(profile, run.pids["python"])
    assert share(found, "_PyEval_EvalFrameDefault") >= 0.9, found


def test_dd_is_named_by_what_clears_memory(run: Run, profile: pprof_pb2.Profile) -> None:
    found = leaves(profile, run.pids["dd"])
    assert share(found, *CLEARING) >= 0.9, found


def test_every_mapping_has_a_build_id_or_a_bracketed_name(profile: pprof_pb2.Profile) -> None:
    text = profile.string_table
    for mapping in profile.mapping:
        name, build_id = text[mapping.filename], text[mapping.build_id]
        assert build_id or (name.startswith("[") and name.endswith("]")), name


def test_the_summary_counts_what_the_profile_holds(out: Path, profile: pprof_pb2.Profile) -> None:
    summary = json.loads((out / "summary.json").read_bytes())
    assert summary["samples"] == sum(sample.value[0] for sample in profile.sample)
    assert SECONDS - 1 < summary["duration_seconds"] < SECONDS + 2


def test_the_collapsed_text_holds_the_same_samples(out: Path, profile: pprof_pb2.Profile) -> None:
    lines = (out / "profile.collapsed.txt").read_text().splitlines()
    counted = sum(int(line.rpartition(" ")[2]) for line in lines)
    assert counted == sum(sample.value[0] for sample in profile.sample)
