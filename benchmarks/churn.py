# SPDX-License-Identifier: Apache-2.0
"""A load that never repeats itself: short-lived programs and libraries, each with a build id of
its own, so that each is a file the agent has never seen.

One program and one library are compiled; a copy with other bytes in the build id's place is
another file to whoever goes by build id, inode, or name.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BUILD_ID = bytes(range(0x40, 0x54))
FUNCTIONS = 600
PROGRAM_SECONDS = (0.2, 2.0)
PLUGINS = 32
NICE = ("nice", "-n", "19")
"""The load gives way to everything else: it is there to be seen, not to be in the way."""
CYCLE_SECONDS = 20.0
"""How often a burst of programs and a storm of libraries come, while it storms."""

_FUNCTION = """
__attribute__((noinline)) long f{n}(long x)
{{
    volatile long spill[{words}];
    for (int i = 0; i < {words}; i++) spill[i] = x + i;
    return spill[x & {mask}] + ({n} + 1 < {all} ? f{next}(x + 1) : x);
}}
"""


def _source(main: str) -> str:
    """Functions with frames of different sizes, each calling the next, and a main."""
    head = "".join(f"long f{n}(long x);\n" for n in range(FUNCTIONS))
    body = "".join(
        _FUNCTION.format(
            n=n, next=(n + 1) % FUNCTIONS, all=FUNCTIONS, words=2 ** (1 + n % 5),
            mask=2 ** (1 + n % 5) - 1,
        )
        for n in range(FUNCTIONS)
    )  # fmt: skip
    return head + body + main


_PROGRAM = """
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv)
{
    struct timespec now, pause = { 0, 2000000 };
    double end = argc > 1 ? atof(argv[1]) : 1, began = 0;
    long sum = 0;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        double t = now.tv_sec + now.tv_nsec * 1e-9;
        if (!began) began = t;
        if (t - began > end) return (int)(sum & 1);
        for (int i = 0; i < 20; i++) sum += f560(sum);
        nanosleep(&pause, 0);
    }
}
"""

_PLUGIN = "long plugin(long x) { return f560(x); }\n"

_HOST = """
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    long sum = 0;
    for (int i = 1; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        long (*plugin)(long) = library ? (long (*)(long))dlsym(library, "plugin") : 0;
        if (!plugin) { fprintf(stderr, "%s\\n", dlerror()); return 1; }
        for (int round = 0; round < 20000; round++) sum += plugin(sum);
        if (i % 2) dlclose(library);
    }
    return (int)(sum & 1);
}
"""


@dataclass
class Churn:
    """`storming` may be set and cleared; `programs` and `libraries` count what was made."""

    directory: Path
    per_second: float = 3.0
    storming: bool = True
    programs: int = 0
    libraries: int = 0
    failures: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _alive: list[tuple[subprocess.Popen[bytes], list[Path]]] = field(default_factory=list)

    def compile(self) -> None:
        flags = ["-O2", "-fomit-frame-pointer", f"-Wl,--build-id=0x{BUILD_ID.hex()}"]
        self._gcc("program", _source(_PROGRAM), flags)
        self._gcc("plugin", _source(_PLUGIN), [*flags, "-shared", "-fPIC"])
        self._gcc("host", _HOST, ["-O2", "-ldl"])

    def _gcc(self, name: str, source: str, flags: list[str]) -> None:
        command = ["gcc", "-x", "c", "-", "-o", str(self.directory / name), *flags]
        subprocess.run(command, input=source.encode(), check=True, timeout=120)

    def run(self) -> None:
        """Until stop(): programs all the time, and each cycle a burst and a storm."""
        next_cycle = time.monotonic()
        while not self._stop.wait(random.expovariate(self.per_second)):
            self._reap()
            if not self.storming:
                continue
            self._start_program()
            if time.monotonic() >= next_cycle:
                next_cycle = time.monotonic() + CYCLE_SECONDS
                for _ in range(10):
                    self._start_program()
                self._start_host()
        for process, _ in self._alive:
            process.wait()
        self._reap()

    def stop(self) -> None:
        self._stop.set()

    def _unlike(self, name: str) -> Path:
        """A copy with a build id of its own."""
        original = (self.directory / name).read_bytes()
        copy = self.directory / f"{name}-{random.randbytes(6).hex()}"
        copy.write_bytes(original.replace(BUILD_ID, random.randbytes(len(BUILD_ID))))
        copy.chmod(0o755)
        return copy

    def _start_program(self) -> None:
        path = self._unlike("program")
        self.programs += 1
        self._start([str(path), f"{random.uniform(*PROGRAM_SECONDS):.2f}"], [path])

    def _start_host(self) -> None:
        plugins = [self._unlike("plugin") for _ in range(PLUGINS)]
        self.libraries += PLUGINS
        self._start([str(self.directory / "host"), *map(str, plugins)], plugins)

    def _start(self, command: list[str], files: list[Path]) -> None:
        self._alive.append((subprocess.Popen([*NICE, *command]), files))

    def _reap(self) -> None:
        for process, files in list(self._alive):
            if process.poll() is not None:
                self._alive.remove((process, files))
                self.failures += process.returncode not in (0, 1)
                for path in files:
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Churn]:
    """The load, until the end."""
    churn = Churn(directory)
    churn.compile()
    thread = threading.Thread(target=churn.run, name="churn", daemon=True)
    thread.start()
    try:
        yield churn
    finally:
        churn.stop()
        thread.join(60)
        os.sync()
