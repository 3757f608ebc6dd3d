# SPDX-License-Identifier: Apache-2.0
"""Stacks by elfutils' libdw, through eu-stack: written by others, from the same CFI."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

_LINE = re.compile(
    r"^#\d+\s+0x([0-9a-f]+)(?: {4}|( - 1))?(?: (\S+))?(?: - .*)?$",
)
MOST_FRAMES = 256


@dataclass(frozen=True)
class Frame:
    """address: as found on the stack. interrupted: no call led from here. name: "" if unknown."""

    address: int
    interrupted: bool
    name: str


@dataclass(frozen=True)
class Stack:
    """error: why libdw could not go on, "" if it came to an end that it takes for the bottom."""

    frames: list[Frame]
    error: str


def missing() -> str:
    """Why there is no libdw to ask, "" if there is."""
    return "" if shutil.which("eu-stack") else "eu-stack of the package elfutils is not installed"


def stack(tid: int, seconds: float = 60) -> Stack:
    """The stack of a thread of a process that stands still (SIGSTOP), leaf first."""
    command = ["eu-stack", "-1", "-a", "-r", "-n", str(MOST_FRAMES), "-p", str(tid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    lines = (_LINE.match(line.rstrip()) for line in done.stdout.splitlines())
    frames = [Frame(int(m[1], 16), not m[2], m[3] or "") for m in lines if m]
    error = done.stderr.strip().rpartition(": ")[2]
    return Stack(frames, "" if "maximum number of frames" in error else error)
