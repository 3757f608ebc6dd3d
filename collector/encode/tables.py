# SPDX-License-Identifier: Apache-2.0
"""The tables of one pprof profile: strings, mappings, functions and locations.

Ids are 1..n in table order, because Parca refuses anything else. Addresses are ELF
virtual addresses and every mapping starts, ends and begins at 0: the one convention under
which each of Parca, its debug files and `go tool pprof` takes an address as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.encode.proto import pprof_pb2
from collector.model import Executable, Frame

# A stack without frames is still a sample: it shows under this name instead of vanishing.
NO_STACK = Frame(Executable("[no stack]", ""), 0, "")

KERNEL = "[kernel.kallsyms]"

# No address in a file has the top bit and every kernel address has it, so one such number
# in a profile would tell where the kernel lives. It is sent as 0, "no address".
_FIRST_FORBIDDEN_ADDRESS = 1 << 63

MappingKey = tuple[Executable, bool]


def is_named(frame: Frame) -> bool:
    """True if the frame carries its name; otherwise the server finds it by build id."""
    return bool(frame.function) or not frame.executable.build_id or not _address(frame)


def _address(frame: Frame) -> int:
    """Only what counts within a file: elsewhere an address says where memory is, and no more."""
    if not frame.executable.build_id or not 0 <= frame.address < _FIRST_FORBIDDEN_ADDRESS:
        return 0
    return frame.address


def _bracketed(name: str) -> str:
    return name if name.startswith("[") else f"[{name.rpartition('/')[2]}]"


def _function_of(frame: Frame) -> tuple[str, str]:
    """(name, file) of a named frame; a frame no symbol covers is named after its mapping."""
    name = frame.function or _bracketed(frame.executable.name)
    kernel = frame.executable.name == KERNEL
    return name, frame.filename or ("vmlinux" if kernel else frame.executable.name)


class Tables:
    """Fills the tables of `profile`; main_executable is the name that becomes mapping 1."""

    def __init__(self, profile: pprof_pb2.Profile, main_executable: str) -> None:
        self._profile = profile
        self._main_executable = main_executable
        self._strings: dict[str, int] = {}
        self._mappings: dict[MappingKey, int] = {}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[tuple[int, int, int], int] = {}
        self.string("")

    def string(self, text: str) -> int:
        """Index of `text`; half a surrogate pair, which no UTF-8 can hold, becomes "?"."""
        index = self._strings.get(text)
        if index is None:
            index = self._strings[text] = len(self._profile.string_table)
            self._profile.string_table.append(text.encode("utf-8", "replace").decode())
        return index

    def locations(self, frames: dict[int, Frame]) -> dict[int, int]:
        """Adds locations for `frames`, given by their id(); returns location ids by the same.

        Identity stands in for equality in the caller's inner loop, where hashing a frame
        would cost fifty times as much; equal frames meet here in one location anyway.
        """
        self._add_mappings(frames.values())
        return {identity: self._location(frame) for identity, frame in frames.items()}

    def _add_mappings(self, frames: Iterable[Frame]) -> None:
        keys = dict.fromkeys((frame.executable, is_named(frame)) for frame in frames)
        for key in sorted(keys, key=self._rank):
            self._add_mapping(*key)

    def _rank(self, key: MappingKey) -> tuple[bool, bool]:
        """Tools show the first mapping as the program: its own file, else any file, leads."""
        executable, _ = key
        return executable.name != self._main_executable, not executable.build_id

    def _add_mapping(self, executable: Executable, named: bool) -> None:
        """One entry for the named frames and one for the rest: has_functions speaks for all."""
        self._mappings[executable, named] = number = len(self._profile.mapping) + 1
        self._profile.mapping.add(
            id=number,
            filename=self.string(executable.name),
            build_id=self.string(executable.build_id),
            has_functions=named,
        )

    def _function(self, name: str, filename: str) -> int:
        number = self._functions.get((name, filename))
        if number is None:
            number = self._functions[name, filename] = len(self._profile.function) + 1
            index = self.string(name)
            self._profile.function.add(
                id=number, name=index, system_name=index, filename=self.string(filename)
            )
        return number

    def _location(self, frame: Frame) -> int:
        named = is_named(frame)
        function = self._function(*_function_of(frame)) if named else 0
        key = (self._mappings[frame.executable, named], _address(frame), function)
        number = self._locations.get(key)
        if number is None:
            number = self._locations[key] = len(self._profile.location) + 1
            location = self._profile.location.add(id=number, mapping_id=key[0], address=key[1])
            if function:
                location.line.add(function_id=function)
        return number
