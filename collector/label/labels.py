# SPDX-License-Identifier: Apache-2.0
"""The labels of one process: a fixed set of names, every value cleaned.

Names follow parca-agent, so that queries written for it go on working. Nothing a profiled
program says can become a label *name*, and an operator's own labels may not take one of ours.
A label whose value would be empty is left out, because to Prometheus the two are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.label.escape import clean
from collector.model import Process

NAMES = frozenset(
    {
        "arch",
        "comm",
        "executable",
        "kernel_release",
        "node",
        "pid",
        "ppid",
        "thread_name",
        "uid",
    }
)
MAX_EXTERNAL = 32
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_RESERVED = frozenset({"tenant", "tenant_id"})

Labels = tuple[tuple[str, str], ...]


class LabelError(ValueError):
    """A label an operator may not set."""


@dataclass(frozen=True, slots=True)
class Host:
    """What is the same for every process: node name, `uname -r`, `uname -m`, own labels."""

    node: str
    kernel_release: str
    architecture: str
    external: Labels = ()


def labels(process: Process, thread: str | None, executable: str, host: Host) -> Labels:
    """Sorted (name, value) pairs of one series.

    `thread` is the thread's comm, None unless threads are told apart; `executable` the name of
    the main executable, empty when it is not known (a kernel thread has none).
    """
    pairs = {
        "arch": host.architecture,
        "comm": process.comm,
        "executable": executable,
        "kernel_release": host.kernel_release,
        "node": host.node,
        "pid": str(process.id.pid),
        "ppid": str(process.parent_pid),
        "thread_name": thread or "",
        "uid": str(process.uid),
    }
    return _sorted((*pairs.items(), *host.external))


def external(chosen: Mapping[str, str]) -> Labels:
    """An operator's labels, checked; raises LabelError naming the first one that is refused."""
    if len(chosen) > MAX_EXTERNAL:
        raise LabelError(f"{len(chosen)} labels, at most {MAX_EXTERNAL} are allowed")
    for name in chosen:
        if not _NAME.fullmatch(name):
            raise LabelError(f"label {clean(name, 64)!r}: a name is [a-zA-Z_][a-zA-Z0-9_]*")
        if name.startswith("__") or name in NAMES or name in _RESERVED:
            raise LabelError(f"label {name}: the name is reserved")
    return _sorted(chosen.items())


def _sorted(pairs: Iterable[tuple[str, str]]) -> Labels:
    return tuple(sorted((name, clean(value)) for name, value in pairs if value))
