# SPDX-License-Identifier: Apache-2.0
"""What makes a program work, and how its processes are told from all others."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).with_name("sources")
BUILT_LIBBPF = Path(__file__).parents[2] / "build/libbpf/src/src"
"""C of some size that is there wherever the agent was built."""

PREPARE_SECONDS = 300
STOP_SECONDS = 30

Start = Callable[[Path], AbstractContextManager[None]]
"""Works from the entry on, in an empty directory that everybody may enter."""


@dataclass(frozen=True)
class Load:
    """`comms` are the names its processes have; `needs` the commands and files to be there.

    code_at_run_time: it also runs code that no file holds, whose stacks are counted apart.
    completeness: whether its stacks must be whole. attribution: the least percentage of its
    samples that must lie in an executable, 0 for no such demand.
    """

    name: str
    start: Start
    comms: frozenset[str]
    needs: tuple[str, ...]
    code_at_run_time: bool = False
    completeness: bool = True
    attribution: float = 0.0

    @property
    def missing(self) -> list[str]:
        return [
            need
            for need in self.needs
            if not (Path(need).exists() if need.startswith("/") else shutil.which(need))
        ]


def prepare(*command: str | Path, **options: object) -> None:
    """Runs what comes before the load. Raises subprocess.CalledProcessError."""
    words = [str(word) for word in command]
    subprocess.run(  # type: ignore[call-overload]
        words, check=True, stdout=subprocess.DEVNULL, timeout=PREPARE_SECONDS, **options
    )


@contextlib.contextmanager
def working(
    *command: str | Path, stop: signal.Signals = signal.SIGKILL, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, which is stopped, then killed with its group."""
    process = subprocess.Popen(  # type: ignore[call-overload]
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def repeating(*command: str | Path, **options: object) -> Iterator[None]:
    """The command again and again."""
    loop = 'while :; do "$@" || sleep 0.1; done'
    with working("sh", "-c", loop, "sh", *command, **options):
        yield
