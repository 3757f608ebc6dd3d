# SPDX-License-Identifier: Apache-2.0
"""First process of an emulated machine's root: runs the real agent there and says what held.

Prints a line `vm: …` for each fact, and `vm: passed` last if all held; then the machine goes off.
Standard library only. expect=run|refuse and seconds=N come from the kernel's command line.

What shall run is run twice: as Debian sets its kernel up, and in a pid namespace with
kernel.perf_event_paranoid=2, where other instructions of the same programs are verified.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

AGENT = Path("/opt/parca-agent")
RUN = Path("/run/parca-agent")
OUT = Path("/out")
DEADLINE_SECONDS = 300
BUSY = "open('/proc/self/comm', 'w').write('busy')\nwhile True: pass"
DEBIAN_DEFAULTS = {"perf_event_paranoid": 3, "unprivileged_bpf_disabled": 2}
SYS_BPF = 321  # x86-64
PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = 11, 13, 15
LIBC = ctypes.CDLL(None, use_errno=True)
MOST_STEPS = 500_000
"""Of the verifier's 1,000,000: a program beyond this is one clang release from not loading."""
BPF_AND_PERFMON = 1 << 39 | 1 << 38
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


class Facts:
    """What was looked at, printed as it comes."""

    def __init__(self) -> None:
        self.failed = 0

    def note(self, text: str) -> None:
        print(f"vm: {text}", flush=True)

    def check(self, held: bool, text: str) -> None:
        self.failed += not held
        self.note(f"{'ok  ' if held else 'FAIL'} {text}")


class Watch:
    """The agent's processes as seen while it runs: last status by role, and the loader's report."""

    def __init__(self) -> None:
        self.roles: dict[str, dict[str, str]] = {}
        self.ever_held = 0
        self.loader: dict[str, object] = {}
        self.programs: dict[str, int] = {}

    def look(self) -> None:
        self.programs |= programs()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                self._look_at(path)
        with contextlib.suppress(OSError):
            self.loader = json.loads((RUN / "loader.json").read_text())

    def _look_at(self, path: Path) -> None:
        words = (path / "cmdline").read_text().split("\0")
        if words[0] != "/usr/bin/python3" or f"{RUN}/lib/collector" not in words:
            return
        role = words[words.index(f"{RUN}/lib/collector") + 1]
        pairs = (line.split(":", 1) for line in (path / "status").read_text().splitlines())
        status = {key: value.strip() for key, value in pairs}
        self.ever_held |= held(status)
        if role not in self.roles or status["Seccomp"] == "2":
            self.roles[role] = status


def held(status: dict[str, str]) -> int:
    """All capabilities in any of the five sets."""
    found = 0
    for name in SETS:
        found |= int(status[name], 16)
    return found


def sysctl(name: str) -> int:
    return int(Path("/proc/sys/kernel", name).read_text())


def bpf(command: int, *words: int) -> list[int]:
    """bpf(2) with an attribute of 32-bit words; the words as the kernel leaves them. OSError."""
    attribute = (ctypes.c_uint32 * 32)(*words)
    LIBC.syscall.restype = ctypes.c_long
    result = LIBC.syscall(SYS_BPF, command, attribute, ctypes.sizeof(attribute))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return [result, *attribute]


def programs() -> dict[str, int]:
    """BPF programs in the kernel, which has none but the agent's, and the steps to verify each."""
    found = {}
    number = 0
    with contextlib.suppress(FileNotFoundError):
        while True:
            _, _, number, *_ = bpf(PROG_GET_NEXT_ID, number)
            with contextlib.suppress(FileNotFoundError):
                name, steps = describe(number)
                found[name] = steps
    return found


def describe(number: int) -> tuple[str, int]:
    """Name and verifier steps of a program, from struct bpf_prog_info (linux/bpf.h)."""
    fd = bpf(PROG_GET_FD_BY_ID, number)[0]
    info = ctypes.create_string_buffer(256)
    address = ctypes.addressof(info)
    try:
        bpf(OBJ_GET_INFO_BY_FD, fd, len(info), address & 0xFFFFFFFF, address >> 32)
    finally:
        os.close(fd)
    return info.raw[64:80].rstrip(b"\0").decode(), int.from_bytes(info.raw[216:220], "little")


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within 10 s: the kernel frees programs after a grace period."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    return condition()


def run_agent(seconds: str, watch: Watch, *within: str, unwinding: str = "auto") -> tuple[int, str]:
    """Exit status and output of `supervisor run`, with one busy process beside it."""
    config = Path("/run/agent.yaml")
    config.write_text(f"sampling: {{unwinding: {unwinding}}}\n")
    busy = subprocess.Popen([sys.executable, "-I", "-c", BUSY])
    log = Path("/run/supervisor.log")
    command = [sys.executable, "-B", "-m", "supervisor", "run", "--stage", "build/stage"]
    command += ["--duration", seconds, "--out", str(OUT), "--config", str(config)]
    with log.open("wb") as file:
        agent = subprocess.Popen([*within, *command], cwd=AGENT, stdout=file, stderr=file)
    end = time.monotonic() + DEADLINE_SECONDS
    while agent.poll() is None and time.monotonic() < end:
        watch.look()
        time.sleep(0.25)
    agent.kill()
    busy.kill()
    return agent.wait(), log.read_text(errors="replace")


def check_clean(facts: Facts) -> None:
    facts.check(
        soon(lambda: not programs()), f"BPF programs left: {' '.join(programs()) or 'none'}"
    )
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(RUN) in line
    ]
    facts.check(not mounts, f"mounts left: {len(mounts)}")
    facts.check(not RUN.exists(), f"{RUN} is gone")


def check_unwinder(facts: Facts, report: dict[str, object], wanted: dict[str, object]) -> None:
    facts.check(report.get("unwinder") == wanted, f"unwinder: {report.get('unwinder')}")


def check_loader(facts: Facts, report: dict[str, object]) -> None:
    how = "CAP_SYS_ADMIN" if sysctl("perf_event_paranoid") >= 3 else "CAP_PERFMON"
    facts.check(report.get("perf_event_open_with") == how, f"perf_event_open with {how}")
    steps = {step["step"]: step for step in report.get("capabilities", [])}  # type: ignore[attr-defined]
    effective = {name: int(step["CapEff"], 16) for name, step in steps.items()}
    shown = " ".join(f"{name}={value:x}" for name, value in effective.items())
    working = [effective.get(name) for name in ("shed", "loaded", "attached", "published")]
    facts.check(working == [BPF_AND_PERFMON] * 4, f"CapEff of the loader: {shown}")
    last = held(steps["dropped"]) if "dropped" in steps else -1
    bounding = int(steps["dropped"]["CapBnd"], 16) if "dropped" in steps else 0
    facts.check(last == bounding, f"after the last step it holds nothing (bounding {bounding:x})")


def check_mappings(facts: Facts, report: dict[str, object]) -> None:
    mappings = report.get("mappings", {})
    facts.check(
        mappings == {"object": "mappings", "refused": ""}, f"recorder of mappings: {mappings}"
    )


def check_programs(facts: Facts, programs: dict[str, int]) -> None:
    shown = " ".join(f"{name}={steps}" for name, steps in programs.items())
    facts.check(0 < max(programs.values(), default=0) < MOST_STEPS, f"verifier steps: {shown}")


def check_processes(facts: Facts, watch: Watch) -> None:
    facts.check(watch.ever_held == 0, f"capabilities ever seen in the others: {watch.ever_held:x}")
    for role in ("collect", "ship", "elf"):
        status = watch.roles.get(role, {})
        closed = status.get("Seccomp") == "2" and status.get("NoNewPrivs") == "1"
        uids = status.get("Uid", "0").split()
        memory = status.get("VmRSS", "not seen")
        facts.check(closed and "0" not in uids, f"{role}: confined, uid {uids[0]}, {memory}")


def check_profile(facts: Facts) -> None:
    summary = json.loads((OUT / "summary.json").read_text())
    outcomes = summary["last_status"]["samples"]["outcomes"]
    lost = {name: count for name, count in outcomes.items() if name.startswith("lost_") and count}
    windows = f"{summary['windows']} windows, {summary['duration_seconds']} s"
    facts.check(summary["samples"] > 0, f"samples: {summary['samples']} in {windows}")
    facts.check(not lost, f"samples lost: {lost or 'none'}")
    facts.note(f"     user stacks: {summary['last_status']['stacks']['user_ends']}")
    lines = (OUT / "profile.collapsed.txt").read_text().splitlines()
    busy = [line for line in lines if line.startswith("busy;")]
    named = count_samples([line for line in busy if "_PyEval_EvalFrame" in line])
    facts.check(named > 0, f"samples of the busy process: {count_samples(busy)}, named: {named}")
    kernel = count_samples([line for line in lines if "_[k]" in line])
    facts.check(kernel > 0, f"samples in named kernel functions: {kernel}")


def count_samples(lines: list[str]) -> int:
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)


def show(facts: Facts, output: str) -> None:
    for line in output.splitlines():
        facts.note(f"     {line}")


def expect_run(facts: Facts, seconds: str) -> None:
    watch = Watch()
    status, output = run_agent(seconds, watch)
    show(facts, output)
    facts.check(status == 0, f"exit status {status}")
    check_loader(facts, watch.loader)
    check_mappings(facts, watch.loader)
    check_unwinder(facts, watch.loader, {"loaded": True, "refused": ""})
    check_programs(facts, watch.programs)
    check_processes(facts, watch)
    check_profile(facts)
    check_clean(facts)
    facts.note("     in a pid namespace, kernel.perf_event_paranoid = 2, frame pointers only:")
    Path("/proc/sys/kernel/perf_event_paranoid").write_text("2")
    expect_nested_run(facts, seconds)


def expect_nested_run(facts: Facts, seconds: str) -> None:
    shutil.rmtree(OUT)
    watch = Watch()
    within = ("unshare", "--pid", "--fork", "--mount-proc")
    status, output = run_agent(seconds, watch, *within, unwinding="frame_pointers")
    show(facts, output if status else "")
    facts.check(status == 0, f"exit status {status}")
    level = watch.loader.get("pid_namespace_level")
    facts.check(level == 1, f"level of the pid namespace: {level}")
    check_loader(facts, watch.loader)
    check_unwinder(facts, watch.loader, {"loaded": False, "refused": ""})
    check_programs(facts, watch.programs)
    samples = json.loads((OUT / "summary.json").read_text())["samples"]
    facts.check(samples > 0, f"samples: {samples}")
    check_clean(facts)


def expect_refusal(facts: Facts, seconds: str) -> None:
    status, output = run_agent(seconds, Watch())
    facts.check(status == 2, f"exit status {status}")
    facts.check(output.count("\n") == 1, f"one sentence: {output.strip()}")
    accounts = [line for line in Path("/etc/passwd").read_text().splitlines() if "parca" in line]
    facts.check(not accounts, f"accounts left: {len(accounts)}")
    left = [path for path in (OUT, *Path("/var/lib").glob("parca*")) if path.exists()]
    facts.check(not left, f"directories left: {len(left)}")
    check_clean(facts)


def main() -> None:
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    words = dict(
        word.split("=", 1) for word in Path("/proc/cmdline").read_text().split() if "=" in word
    )
    facts = Facts()
    for name, value in DEBIAN_DEFAULTS.items():
        facts.check(sysctl(name) == value, f"kernel.{name} = {sysctl(name)}")
    try:
        expect = expect_refusal if words["expect"] == "refuse" else expect_run
        expect(facts, words["seconds"])
    except Exception as error:  # noqa: BLE001 - a first process that ends is a kernel panic
        facts.check(False, f"{type(error).__name__}: {error}")
    facts.note("failed" if facts.failed else "passed")
    os.sync()
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)


if __name__ == "__main__":
    main()
