# SPDX-License-Identifier: Apache-2.0
"""How a frame looks to people: its title and its kind."""

from __future__ import annotations

from enum import Enum

from collector.model import Frame

KERNEL = "[kernel.kallsyms]"
VDSO = "[vdso]"


class Kind(Enum):
    """What a frame is; the value is its letter in the flame graph's data."""

    PROCESS = "p"
    KERNEL = "k"
    NATIVE = "n"
    JIT = "j"
    UNMAPPED = "u"

    @property
    def title(self) -> str:
        return TITLES[self]


TITLES = {
    Kind.PROCESS: "process",
    Kind.KERNEL: "kernel",
    Kind.NATIVE: "user native",
    Kind.JIT: "Python or JIT",
    Kind.UNMAPPED: "unmapped",
}


def kind(frame: Frame) -> Kind:
    """Kernel; code of a file; code generated or interpreted at run time; or none of these."""
    executable = frame.executable
    if executable.name == KERNEL:
        return Kind.KERNEL
    if frame.filename.endswith((".py", ".js", ".rb")) or _generated(executable.name):
        return Kind.JIT
    if executable.build_id or executable.name == VDSO:
        return Kind.NATIVE
    return Kind.UNMAPPED


def _generated(name: str) -> bool:
    return name.startswith(("[anon", "[jit", "[memfd", "[heap", "[stack"))


def title(frame: Frame) -> str:
    """The function; else file+address; else the bracketed name. One printable line."""
    if frame.function:
        return printable(frame.function)
    name = frame.executable.name
    if name.startswith("["):
        return printable(name)
    return printable(f"{name.rpartition('/')[2]}+{frame.address:#x}")


def printable(text: str) -> str:
    """Without control, bidirectional and other invisible characters: names may be hostile."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
