# SPDX-License-Identifier: Apache-2.0
"""Programs whose call chains are known, how they are built, and what their stacks look like.

A stack is written leaf first as `function;function;…`. A function of the program itself has its
own name, told by the address and the symbols of the build that was not stripped ("?" where there
is no symbol, as in a PLT); any other frame is `file:function`, without the function where the file
is stripped, as Debian's C library is, or a name in brackets.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elftools.elf.elffile import ELFFile

from collector.model import Frame

HERE = Path(__file__).parent
FLAGS = (
    "-O2",
    "-fomit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fasynchronous-unwind-tables",
)
COMPILERS = {
    ".c": ("gcc", *FLAGS),
    ".cpp": ("g++", *FLAGS),
    ".rs": ("rustc", "-O", "-Cpanic=unwind"),
}
NAMELESS_BYTES = 16
"""What a symbol without a size covers: the signal trampoline of a static C library."""

KERNEL = "[kernel.kallsyms]"
C = r"(?:libc\.so\.6:\w*|_*libc_start\w*)"
BOTTOM = rf"main;{C};{C};_start"


def nest(functions: Iterable[str], above: str = "") -> str:
    """A chain that may begin at any of its functions: each needs all of its callers."""
    pattern = above
    for function in functions:
        pattern = rf"(?:{pattern}{function};)?"
    return pattern


def levels(depth: int) -> list[str]:
    """deep.h's calls, from the last to the first."""
    kinds = ("aligned", "saving", "large", "varying")
    return [kinds[n % 4] for n in range(1, depth + 1)]


def other(*own: str) -> str:
    """A frame of none of these functions; names may go on after a dot."""
    return rf"(?:(?!(?:{'|'.join(own)})[.;])[^;]+;)"


@dataclass(frozen=True)
class Known:
    """`chain` matches a whole stack; each of `seen` begins some, or the run says nothing."""

    name: str
    source: str
    chain: str
    seen: tuple[str, ...]
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("600",)
    stripped: bool = False
    pinned: bool = False
    library: str = ""

    @property
    def compiler(self) -> tuple[str, ...]:
        return COMPILERS[Path(self.source).suffix]

    @property
    def missing(self) -> str:
        """The compiler, when there is none."""
        return "" if shutil.which(self.compiler[0]) else self.compiler[0]


def deep(name: str, depth: int, *flags: str, stripped: bool = False, pinned: bool = False) -> Known:
    chain = nest(["leaf", *levels(depth)]) + "root;" + BOTTOM
    seen = (";".join(["leaf", *levels(depth), "root;"]),)
    flags = (f"-DDEPTH={depth}", *flags)
    return Known(name, "deep.c", chain, seen, flags, stripped=stripped, pinned=pinned)


def sorting(name: str, *flags: str, stripped: bool = False) -> Known:
    called = other("leaf", "compare", "root", "main")
    chain = rf"(?:{nest(['leaf', 'compare'])}{called}+)?root;{BOTTOM}"
    return Known(name, "sorting.c", chain, ("leaf;compare;",), flags, stripped=stripped)


def signals(name: str, timer: str, signal: str, *flags: str) -> Known:
    back = r"(?:libc\.so\.6:\w*|__restore_rt|\?)"  # the byte before it is looked up
    interrupted = nest(["leaf", *levels(20)])
    chain = rf"(?:{nest(['in_handler', 'handler'])}{back};)?{interrupted}root;{BOTTOM}"
    flags = (f"-DTIMER={timer}", f"-DSIGNAL={signal}", *flags)
    return Known(name, "signals.c", chain, ("in_handler;handler;", "leaf;"), flags)


def calls(name: str, *flags: str) -> Known:
    library = r"(?:libtiny\.so:(?:tinier)?;)?libtiny\.so:tiny;"
    chain = rf"(?:{library}|\?;)?caller;root;{BOTTOM}"
    seen = ("libtiny.so:tinier;", "libtiny.so:tiny;")
    return Known(name, "calls.c", chain, seen, flags, library="tiny.c")


def clocks(name: str, *flags: str) -> Known:
    called = other("read_clock", "root", "main")
    chain = rf"(?:(?:\[vdso\];)*{called})?read_clock;root;{BOTTOM}"
    return Known(name, "clocks.c", chain, ("[vdso];", "read_clock;"), flags)


def threads(name: str, start: str, clone: str, *flags: str) -> Known:
    called = other("leaf", "body", "root", "main")
    chain = rf"(?:leaf;)?body;{start};{clone}|{called}*{clone}|{called}*root;{BOTTOM}"
    return Known(name, "threads.c", chain, ("leaf;body;",), flags)


def throwing(name: str, *flags: str, stripped: bool = False) -> Known:
    called = other("cleaning", "handling", "descending", "catching", "root", "main")
    frame = r"descending(?:\.cold)?;"
    thrown = rf"(?:cleaning;|{called}+)?(?:{frame}){{1,12}}|handling;|{called}+"
    chain = rf"(?:{thrown})?catching(?:\.cold)?;root;{BOTTOM}"
    return Known(name, "throwing.cpp", chain, ("cleaning;", "handling;"), flags, stripped=stripped)


RUST = ("leaf", "descend", "dropping", "unwinding", "catching", "root", "main")


def rust_deep(name: str, *flags: str, stripped: bool = False) -> Known:
    chain = nest(["leaf", *["descend"] * 60]) + rf"root;{other(*RUST)}+{BOTTOM}"
    seen = ("leaf;" + "descend;" * 60 + "root;",)
    return Known(name, "rusty.rs", chain, seen, flags, ("deep",), stripped=stripped)


def rust_panic(name: str, *flags: str) -> Known:
    called = other(*RUST)
    thrown = rf"(?:dropping;|{called}+)?(?:unwinding;){{1,12}}|{called}"
    chain = rf"(?:{thrown})?{called}*catching;root;{called}+{BOTTOM}"
    return Known(name, "rusty.rs", chain, ("dropping;unwinding;",), flags, ("panic",))


ANY_C = r"libc\.so\.6:\w*"
CRT_STATIC = "-Ctarget-feature=+crt-static"
KNOWN = (
    deep("deep-10", 10),
    deep("deep-60", 60),
    deep("deep-60-pinned", 60, pinned=True),
    deep("deep-120", 120),
    deep("deep-120-static", 120, "-static"),
    deep("deep-60-static-pie-stripped", 60, "-static-pie", stripped=True),
    deep("deep-60-no-pie", 60, "-no-pie"),
    deep("deep-60-no-pie-stripped", 60, "-no-pie", stripped=True),
    sorting("sorting"),
    sorting("sorting-static-stripped", "-static", stripped=True),
    signals("signals", "ITIMER_PROF", "SIGPROF"),
    signals("signals-static", "ITIMER_PROF", "SIGPROF", "-static"),
    signals("signals-alternate", "ITIMER_REAL", "SIGALRM", "-DALTERNATE"),
    calls("calls-lazy", "-Wl,-z,lazy"),
    calls("calls-now", "-Wl,-z,now"),
    calls("calls-no-plt", "-fno-plt"),
    calls("calls-protected", "-fcf-protection", "-Wl,-z,lazy", "-Wl,-z,ibtplt"),
    clocks("clocks"),
    clocks("clocks-static", "-static"),
    threads("threads", ANY_C, ANY_C),
    threads("threads-static", "start_thread", r"_*clone3", "-static"),
    throwing("throwing"),
    throwing("throwing-static", "-static"),
    throwing("throwing-no-pie-stripped", "-no-pie", stripped=True),
    rust_deep("rust"),
    rust_deep("rust-no-pie-stripped", "-Crelocation-model=static", stripped=True),
    rust_deep("rust-static", CRT_STATIC),
    rust_panic("rust-panic"),
    rust_panic("rust-panic-static", CRT_STATIC),
)


@dataclass(frozen=True)
class Built:
    """A program as it runs, and the file that still has its symbols."""

    known: Known
    path: Path
    twin: Path = field(compare=False)

    @cached_property
    def _symbols(self) -> tuple[list[int], list[tuple[int, str]]]:
        with self.twin.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".symtab")
            found = {
                symbol["st_value"]: (symbol["st_size"] or NAMELESS_BYTES, symbol.name)
                for symbol in table.iter_symbols()
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]
            }
        return sorted(found), [found[address] for address in sorted(found)]

    def function(self, address: int) -> str:
        starts, functions = self._symbols
        index = bisect_right(starts, address) - 1
        size, name = functions[max(index, 0)]
        return name if index >= 0 and address < starts[index] + size else "?"

    def words(self, stack: Sequence[Frame]) -> str:
        """The user part of a stack, as the patterns have it."""
        names = []
        for frame in stack:
            if frame.executable.name == str(self.path):
                names.append(self.function(frame.address))
            elif frame.executable.name != KERNEL:
                names.append(_foreign(frame))
        return ";".join(names)

    def expected(self, words: str) -> bool:
        return re.fullmatch(self.known.chain, words) is not None

    @property
    def command(self) -> list[str]:
        """Behind everything else that runs, so that the agent has its share of the CPU."""
        prefix = ["nice", "-n", "10", *(["taskset", "-c", "0"] if self.known.pinned else [])]
        return [*prefix, str(self.path), *self.known.arguments]


def build(known: Known, directory: Path) -> Built:
    """Compiles into a directory of its own under `directory`."""
    own = directory / known.name
    own.mkdir()
    own.chmod(0o755)
    path, twin = own / known.name, own / "twin"
    libraries: list[str] = []
    if known.library:
        target = own / f"lib{Path(known.library).stem}.so"
        _run(*known.compiler, *known.flags, "-shared", "-fPIC", HERE / known.library, "-o", target)
        libraries = [str(target), "-Wl,-rpath,$ORIGIN"]
    _run(*known.compiler, *known.flags, HERE / known.source, "-o", twin, *libraries)
    _run("strip" if known.stripped else "cp", twin, "-o" if known.stripped else "-T", path)
    path.chmod(0o755)
    return Built(known, path, twin)


def _foreign(frame: Frame) -> str:
    name = frame.executable.name
    return name if name.startswith("[") else f"{name.rpartition('/')[2]}:{frame.function}"


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=120)
