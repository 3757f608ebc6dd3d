# SPDX-License-Identifier: Apache-2.0
"""What is recorded: programs, where in them, and how to make them run."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.real import LOADS
from benchmarks.real.load import Start, working
from tests.kernel.chains import known as chains

PYTHON = "/usr/bin/python3"
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30

_DECIMAL = "from decimal import *; getcontext().prec = 20000\nwhile 1: Decimal(2).sqrt()"
_MOVE = "a = bytearray(1 << 20)\nwhile 1: b = a + a"
_SLEEP = (
    "import time\ndef f(n): return max(map(f, [n - 1])) if n else time.sleep(0.1) or 0\n"
    "while 1: f(4)"
)
_DEEP = (
    "def f(n): return max(map(f, [n - 1])) if n else sum(i * i for i in range(99))\nwhile 1: f(6)"
)
_LOADING = "from _ctypes import *\nwhile 1: dlclose(dlopen('libcrypto.so.3', 2))"


@dataclass(frozen=True)
class Scenario:
    """start: makes it run in an empty directory. comms: names that its processes have. until: a
    regular expression of a part of the stack to stop in, see Stand.words. thread: of the name of a
    thread other than the first, "" is the first one."""

    name: str
    program: str
    situation: str
    recipe: str
    start: Start
    comms: frozenset[str]
    until: str = "."
    thread: str = ""
    needs: tuple[str, ...] = ()


class Process(NamedTuple):
    """Of the tree that this process is the root of."""

    pid: int
    comm: str
    ticks: int


def descendants() -> list[Process]:
    """All processes below this one, those that used the CPU most first."""
    found: dict[int, tuple[int, Process]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text().rpartition(")")
            fields = rest.split()
            pid, _, comm = head.partition(" (")
            ticks = int(fields[11]) + int(fields[12])
            found[int(pid)] = int(fields[1]), Process(int(pid), comm, ticks)
    below = {os.getpid()}
    while more := {pid for pid, (parent, _) in found.items() if parent in below} - below:
        below |= more
    below -= {os.getpid()}
    return sorted((found[pid][1] for pid in below), key=lambda process: -process.ticks)


def await_process(comms: frozenset[str]) -> Process:
    """One that has begun to work. Raises TimeoutError."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        for process in descendants():
            if process.comm in comms:
                return process
        time.sleep(0.01)
    raise TimeoutError(f"no process is called {' or '.join(comms)}")


def _load(
    name: str, load: str, program: str, situation: str, until: str = ".", thread: str = ""
) -> Scenario:
    found = next(one for one in LOADS if one.name == load)
    recipe = f"the load {load} of benchmarks/real"
    needs = tuple(found.needs)
    return Scenario(
        name, program, situation, recipe, found.start, found.comms, until, thread, needs
    )


def _python(name: str, situation: str, text: str, until: str) -> Scenario:
    @contextlib.contextmanager
    def start(_: Path) -> Iterator[None]:
        with working(PYTHON, "-I", "-S", "-c", text):
            yield

    comms = frozenset({"python3"})
    recipe = f"{PYTHON} -I -S -c '{text}'"
    return Scenario(name, "python3.11", situation, recipe, start, comms, until, needs=(PYTHON,))


def _known(name: str, situation: str, until: str, chain: str, thread: str = "") -> Scenario:
    known = next(one for one in chains.KNOWN if one.name == chain)

    def start(directory: Path) -> AbstractContextManager[object]:
        built = chains.build(known, directory)
        return working(built.path, *known.arguments)

    comms = frozenset({known.name[:15]})
    recipe = f"{known.name} of tests/kernel/chains"
    return Scenario(
        name, known.source, situation, recipe, start, comms, until, thread, (known.compiler[0],)
    )


def leaf(file: str, function: str = "", section: str = "") -> str:
    """Where a stack begins: file, section and function, each a regular expression."""
    return rf"\A{file} {section or '[^ ]*'} {function or '[^;]*'};"


_LIBC = re.escape("libc.so.6")
SCENARIOS: tuple[Scenario, ...] = (
    _python(
        "cpython-extension",
        "in an extension module",
        _DECIMAL,
        leaf(r"_decimal[^ ]*|libmpdec[^ ]*"),
    ),
    _python("cpython-libc", "copying memory", _MOVE, leaf(_LIBC)),
    _python("cpython-sleeping", "in a system call below Python below C", _SLEEP, leaf(_LIBC)),
    _python("cpython-deep", "C below Python below C", _DEEP, r"(?:[^;]*;){35}"),
    _python("cpython-relocating", "in the dynamic linker", _LOADING, leaf(r"ld-linux[^ ]*")),
    _load("cc1", "gcc", "cc1", "compiling C", leaf("cc1") + r"(?:[^;]*;){12}"),
    _load(
        "postgres",
        "PostgreSQL",
        "postgres",
        "a backend at work",
        leaf("postgres") + r"(?:[^;]*;){10}",
    ),
    _load("redis", "redis", "redis-server", "a command", leaf("redis-[^ ]*")),
    _load(
        "redis-calling",
        "redis",
        "redis-server",
        "in a system call",
        leaf(_LIBC, "[^;]*(?:write|read|epoll)[^;]*"),
    ),
    _load("nginx", "nginx", "nginx", "compressing an answer", leaf(r"libz[^ ]*")),
    _load("nginx-waiting", "nginx", "nginx", "handling a request", leaf("nginx")),
    _load("node", "node", "node", "in V8's own code", leaf("node", ".*v8.*") + r"(?:[^;]*;){15}"),
    _load("node-worker", "node", "node", "a thread of V8's", "start_thread;", "node|V8.*"),
    _load("jvm-compiler", "OpenJDK", "java", "a compiler thread", leaf("libjvm[^ ]*"), "C[12] .*"),
    _load(
        "jvm-collector",
        "OpenJDK",
        "java",
        "a garbage collector's thread",
        "start_thread;",
        "G[1C].*",
    ),
    _load("xz", "xz", "xz", "compressing", leaf("liblzma[^ ]*")),
    _load("git", "git", "git", "comparing texts", leaf("git") + r"(?:[^;]*;){10}"),
    _load("perl", "perl", "perl", "in the interpreter", leaf("perl")),
    _load("go", "Go", "go-mix", "without CFI, stripped", r"(?:[^;]*;){4}"),
    _load("rust", "Rust", "rust-mix", "stripped", leaf("rust-mix"), ".*"),
    _known("deep-60", "60 calls deep, all kinds of frames", r"leaf;(?:[^;]*;){60}", "deep-60"),
    _known("deep-static", "static and stripped", r"(?:[^;]*;){40}", "deep-60-static-pie-stripped"),
    _known("deep-120", "120 calls deep", r"leaf;(?:[^;]*;){120}", "deep-120"),
    _known(
        "throwing", "an exception in flight", r"_Unwind_[^;]*;(?:[^;]*;)*.*descending", "throwing"
    ),
    _known(
        "throwing-static",
        "an exception in flight, static",
        "_Unwind_.*descending",
        "throwing-static",
    ),
    _known("signal-handler", "in a signal's handler", "in_handler;.*leaf", "signals"),
    _known(
        "signal-stack", "a handler on a stack of its own", "in_handler;.*leaf", "signals-alternate"
    ),
    _known(
        "plt", "in a PLT's stub, lazily bound", leaf("calls-lazy", section=r"\.plt"), "calls-lazy"
    ),
    _known(
        "plt-protected",
        "in .plt.sec",
        leaf("calls-protected", section=r"\.plt\.sec"),
        "calls-protected",
    ),
    _known("vdso", "in the vDSO", leaf(r"\[vdso\]"), "clocks"),
    _known("thread", "in a thread", r"leaf;.*body;[^;]*;[^;]*clone3;\Z", "threads", "threads"),
    _known("new-thread", "behind the call that made it", r"\A[^;]*clone3;", "threads", "threads"),
    _known("qsort", "in a callback of qsort", leaf("sorting", "leaf"), "sorting"),
    _known("rust-panic", "dropping amid a panic", "dropping;", "rust-panic"),
)
