# SPDX-License-Identifier: Apache-2.0
"""C programs to be profiled, compiled where the agent's users can read them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A directory that everybody may enter, on a local file system; pytest's own are closed."""
    path = Path(tempfile.mkdtemp(prefix="parca-agent-test-", dir="/var/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def build(path: Path, source: str | Path, *flags: str) -> Path:
    """Compiles `source`, C text or a file of it, into `path`."""
    text = source.read_text() if isinstance(source, Path) else source
    command = ["gcc", "-x", "c", "-", "-o", path, *flags]
    subprocess.run(command, input=text, text=True, check=True, timeout=60)
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def running(*command: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end."""
    process = subprocess.Popen([str(part) for part in command], **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
