# SPDX-License-Identifier: Apache-2.0
"""The loads by name, and how to make one for as long as it is measured."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LOADS = {
    "idle": (),
    "2 busy": ("busy", "2"),
    "500 forking": ("fork", "500"),
    "2000 sleeping": ("sleep", "2000"),
}
SETTLE_SECONDS = 1.0


@contextlib.contextmanager
def program() -> Iterator[Path]:
    """The compiled load.c, where the agent's users can read it."""
    with tempfile.TemporaryDirectory(prefix="parca-agent-bench-", dir="/var/tmp") as directory:
        path = Path(directory) / "load"
        Path(directory).chmod(0o755)
        source = Path(__file__).with_name("load.c")
        command = ["gcc", "-O1", "-fno-omit-frame-pointer", "-o", str(path), str(source)]
        subprocess.run(command, check=True, timeout=60)
        yield path


@contextlib.contextmanager
def running(load: Path, name: str) -> Iterator[None]:
    """The load, until the end; its children die with it."""
    if not LOADS[name]:
        yield
        return
    process = subprocess.Popen([load, *LOADS[name]])
    try:
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        process.kill()
        process.wait()
