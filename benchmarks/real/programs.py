# SPDX-License-Identifier: Apache-2.0
"""Programs that compute: compilers, tools, interpreters, and what other compilers make."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.real.load import BUILT_LIBBPF, SOURCES, Load, Start, prepare, repeating, working

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
LIBBPF_FLAGS = ("-O2", "-g", "-I.", "-I../include", "-I../include/uapi")
LIBBPF_DEFINES = ("-D_LARGEFILE64_SOURCE", "-D_FILE_OFFSET_BITS=64")
MAKE_COMMS = frozenset({"make", "sh", "cc1", "gcc", "as", "ld", "collect2", "ar", "mkdir", "rm"})


def running(*command: str | Path) -> Start:
    """A program that goes on for ever by itself."""

    @contextlib.contextmanager
    def start(_: Path) -> Iterator[None]:
        with working(*command):
            yield

    return start


@contextlib.contextmanager
def python(directory: Path) -> Iterator[None]:
    """Under a name of its own: the agent is Python too."""
    program = directory / "python-mix"
    program.symlink_to(PYTHON)
    with working(program, "-I", "-S", SOURCES / "mix.py"):
        yield


@contextlib.contextmanager
def gcc(directory: Path) -> Iterator[None]:
    command = ("gcc", *LIBBPF_FLAGS, *LIBBPF_DEFINES, "-c", "libbpf.c", "-o", directory / "o")
    with repeating(*command, cwd=BUILT_LIBBPF):
        yield


@contextlib.contextmanager
def make(directory: Path) -> Iterator[None]:
    build = "rm -rf $0; make -s -j2 BUILD_STATIC_ONLY=y OBJDIR=$0"
    with repeating("sh", "-c", build, directory / "objects", cwd=BUILT_LIBBPF):
        yield


@contextlib.contextmanager
def xz(directory: Path) -> Iterator[None]:
    both = "xz -6 -T1 -c $0 > $1 && xz -dc $1 && xz -dc $1"
    with repeating("sh", "-c", both, Path(PYTHON).resolve(), directory / "xz"):
        yield


@contextlib.contextmanager
def git(directory: Path) -> Iterator[None]:
    repository = directory / "repository"
    prepare("git", "clone", "-q", "--bare", ROOT, repository)
    both = "git log -p --stat -M -C && git repack -adfq --window=50 && git fsck --full"
    with repeating("sh", "-c", both, cwd=repository):
        yield


@contextlib.contextmanager
def go(directory: Path) -> Iterator[None]:
    environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    program = directory / "go-mix"
    prepare(
        *("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, SOURCES / "mix.go"),
        env=environment,
    )
    with working(program):
        yield


@contextlib.contextmanager
def rust(directory: Path) -> Iterator[None]:
    program = directory / "rust-mix"
    prepare("rustc", "-Copt-level=3", "-Cstrip=symbols", "-o", program, SOURCES / "mix.rs")
    with working(program):
        yield


def java(*options: str, turns: int = 0) -> Start:
    """A Java program: so many turns again and again, or one for ever."""

    @contextlib.contextmanager
    def start(directory: Path) -> Iterator[None]:
        prepare("javac", "-d", directory, SOURCES / "Mix.java")
        command = ("java", *options, "-cp", str(directory), "Mix")
        with repeating(*command, str(turns)) if turns else working(*command):
            yield

    return start


@contextlib.contextmanager
def java_compiler(directory: Path) -> Iterator[None]:
    """A program of OpenJDK that is all start-up: half a second of work each time."""
    with repeating("javac", "-d", directory, SOURCES / "Mix.java"):
        yield


def _load(name: str, start: Start, comms: str, needs: str, **options: bool | float) -> Load:
    return Load(name, start, frozenset(comms.split()), tuple(needs.split()), **options)  # type: ignore[arg-type]


_JAVA = {"code_at_run_time": True}
"""Once it is started, all but a few of its stacks go through code made at run time."""
LOADS = (
    _load("CPython", python, "python-mix", PYTHON),
    _load("gcc", gcc, "cc1 as gcc", f"gcc {BUILT_LIBBPF}"),
    Load("make -j2", make, MAKE_COMMS, ("make", "gcc", str(BUILT_LIBBPF)), attribution=95.0),
    _load("xz", xz, "xz", "xz"),
    _load("git", git, "git", "git"),
    _load("perl", running("perl", SOURCES / "mix.pl"), "perl", "perl"),
    _load(
        "node",
        running("node", SOURCES / "mix.js"),
        "node MainThread",
        "node",
        code_at_run_time=True,
    ),
    _load("OpenJDK start-up", java("-Xshare:auto", turns=3), "java", "java javac", **_JAVA),
    _load("OpenJDK javac", java_compiler, "javac java", "javac", **_JAVA),
    _load("OpenJDK -Xint", java("-Xint"), "java", "java javac", completeness=False, **_JAVA),
    _load("OpenJDK", java(), "java", "java javac", completeness=False, **_JAVA),
    _load("Go", go, "go-mix", "go"),
    _load("Rust", rust, "rust-mix", "rustc"),
)
