# SPDX-License-Identifier: Apache-2.0
"""Recorded stacks: one JSON file each, from which a walk can be done again anywhere.

    program, situation, recipe   what ran, where it was stopped, how to make it run
    registers                    ip, sp, bp; in_call: within a system call; gave_zero: ax is 0
    files                        name, build id and rows of the pages that the stack runs through
    mappings                     executable ones: start, end, offset, index of the file or null
    memory                       address, size, bytes
    golden, golden_end           frames by libdw, leaf first: name of the file + offset, function

Numbers are hexadecimal strings, bytes zlib in base64. Rows are (file offset, rule) as
collector/unwind/ makes them, not chunks: replaying packs them, so that a recording outlives the
layout of chunks. Of memory only words that lead to code or to the memory itself are kept, and
zeros; all others are FILLER: no string, key or pointer to data gets into a recording.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collector.unwind.chunks import Segment, chunks
from collector.unwind.rows import Cfa, Rule, Saved, Table
from collector.unwind.x86_64 import X86_64
from tests.stacks.walker import FILE_VDSO, Case, Range, flags

FORMAT = 1
INTERRUPTED_MARK = " (interrupted)"
FILLER = 0x5C5C5C5C5C5C5C58
"""No address, as aligned as one."""

DIRECTORY = Path(__file__).parents[1] / "data/stacks"


@dataclass(frozen=True)
class Page:
    """Rows ascending by file offset; the first holds from the page's begin on."""

    start: int
    size: int
    offsets: list[int]
    numbers: list[int]


@dataclass(frozen=True)
class File:
    """rules: by the numbers that rows have; none: it has no table."""

    name: str
    build_id: str
    rules: tuple[Rule, ...]
    pages: list[Page]


@dataclass(frozen=True)
class RecordedMapping:
    """file: index in the recording's files, None for memory of no file."""

    start: int
    end: int
    offset: int
    file: int | None


@dataclass(frozen=True)
class Golden:
    """A frame by libdw. file "" and an address: in no mapping. interrupted: by a signal."""

    file: str
    offset: int
    function: str
    interrupted: bool = False

    def __str__(self) -> str:
        mark = INTERRUPTED_MARK if self.interrupted else ""
        return f"{self.file}+{self.offset:#x} {self.function}".rstrip() + mark

    @property
    def place(self) -> tuple[str, int]:
        """As the kernel side has it: what a signal interrupted is 1 more."""
        return self.file, self.offset + self.interrupted


@dataclass(frozen=True)
class Recording:
    """See the module."""

    program: str
    situation: str
    recipe: str
    ip: int
    sp: int
    bp: int
    in_call: bool
    gave_zero: bool
    files: list[File]
    mappings: list[RecordedMapping]
    memory: list[tuple[int, bytes]]
    golden: list[Golden]
    golden_end: str

    def case(self) -> Case:
        """What the walker needs."""
        ranges, tables, bodies = [], {}, {}
        for mapping in self.mappings:
            number = 0 if mapping.file is None else self.number(mapping.file)
            ranges.append(Range(mapping.start, mapping.end, number, mapping.offset))
        for index, file in enumerate(self.files):
            if not file.rules:
                continue
            number = self.number(index)
            packed = chunks(*_table(file), X86_64.frame_rule)
            tables[number] = (number + 1, packed.page_shift)
            bodies |= {(number + 1, page): body for page, body in packed.chunks}
        how = flags(in_call=self.in_call, gave_zero=self.gave_zero)
        return Case(self.ip, self.sp, self.bp, how, ranges, tables, bodies, self.memory)

    def number(self, file: int) -> int:
        """What the kernel side calls a file."""
        return FILE_VDSO if self.files[file].name == "[vdso]" else FILE_VDSO + 1 + file

    def place(self, address: int) -> tuple[str, int]:
        """Name of the file and offset in it; ("", address) where there is none."""
        for mapping in self.mappings:
            if mapping.start <= address < mapping.end and mapping.file is not None:
                name = self.files[mapping.file].name
                return name, address - mapping.start + mapping.offset
        return "", address


def _table(file: File) -> tuple[Table, list[Segment]]:
    """Virtual addresses are file offsets here."""
    pages = sorted(file.pages, key=lambda page: page.start)
    offsets = array("Q", [at for page in pages for at in page.offsets])
    numbers = array("H", [number for page in pages for number in page.numbers])
    return Table(offsets, numbers, file.rules), [(p.start, p.start, p.size) for p in pages]


def scrubbed(memory: bytes, keep: Iterable[tuple[int, int]]) -> bytes:
    """Words that lie in none of the ranges to keep become FILLER, but zeros remain."""
    ranges = list(keep)
    whole = memory[: len(memory) & ~7]
    words = struct.unpack(f"<{len(whole) // 8}Q", whole)
    return struct.pack(f"<{len(words)}Q", *(scrubbed_word(word, ranges) for word in words))


def scrubbed_word(word: int, keep: Iterable[tuple[int, int]]) -> int:
    """One word of it."""
    return word if not word or any(low <= word <= high for low, high in keep) else FILLER


def _packed_bytes(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _page_to_json(page: Page) -> list[str]:
    steps = [at - before for before, at in zip([page.start, *page.offsets], page.offsets)]  # noqa: B905 (one is longer)
    rows = struct.pack(f"<I{len(steps)}I{len(steps)}H", len(steps), *steps, *page.numbers)
    return [hex(page.start), hex(page.size), _packed_bytes(rows)]


def _page_from_json(values: list[str]) -> Page:
    start, size = (int(value, 16) for value in values[:2])
    data = _unpacked(values[2])
    (count,) = struct.unpack_from("<I", data)
    steps = struct.unpack_from(f"<{count}I", data, 4)
    offsets, at = [], start
    for step in steps:
        at += step
        offsets.append(at)
    return Page(start, size, offsets, list(struct.unpack_from(f"<{count}H", data, 4 + 4 * count)))


def _file_to_json(file: File) -> dict[str, object]:
    rules = [[int(r.cfa), r.offset, int(r.frame), r.frame_offset] for r in file.rules]
    pages = [_page_to_json(page) for page in file.pages]
    return {
        "name": file.name,
        "build_id": file.build_id,
        "rules": json.dumps(rules),
        "pages": pages,
    }


def _file_from_json(values: dict[str, object]) -> File:
    rules = tuple(
        Rule(Cfa(cfa), offset, Saved(frame), frame_offset)
        for cfa, offset, frame, frame_offset in json.loads(values["rules"])
    )
    pages = [_page_from_json(page) for page in values["pages"]]
    return File(values["name"], values["build_id"], rules, pages)


def dumps(recording: Recording) -> str:
    """The recording as the text of a file."""
    r = recording
    return (
        json.dumps(
            {
                "format": FORMAT,
                "program": r.program,
                "situation": r.situation,
                "recipe": r.recipe,
                "registers": {"ip": hex(r.ip), "sp": hex(r.sp), "bp": hex(r.bp)},
                "in_call": r.in_call,
                "gave_zero": r.gave_zero,
                "golden_end": r.golden_end,
                "golden": [str(frame) for frame in r.golden],
                "mappings": [
                    f"{m.start:#x} {m.end:#x} {m.offset:#x} {'-' if m.file is None else m.file}"
                    for m in r.mappings
                ],
                "files": [_file_to_json(file) for file in r.files],
                "memory": [[hex(at), hex(len(b)), _packed_bytes(b)] for at, b in r.memory],
            },
            indent=1,
        )
        + "\n"
    )


def loads(text: str) -> Recording:
    """The recording that dumps() wrote."""
    values = json.loads(text)
    assert values["format"] == FORMAT
    registers = values["registers"]
    return Recording(
        program=values["program"],
        situation=values["situation"],
        recipe=values["recipe"],
        ip=int(registers["ip"], 16),
        sp=int(registers["sp"], 16),
        bp=int(registers["bp"], 16),
        in_call=values["in_call"],
        gave_zero=values["gave_zero"],
        files=[_file_from_json(file) for file in values["files"]],
        mappings=[_mapping(line) for line in values["mappings"]],
        memory=[(int(at, 16), _unpacked(text)) for at, _, text in values["memory"]],
        golden=[_golden(line) for line in values["golden"]],
        golden_end=values["golden_end"],
    )


def _mapping(line: str) -> RecordedMapping:
    *numbers, file = line.split()
    start, end, offset = (int(number, 16) for number in numbers)
    return RecordedMapping(start, end, offset, None if file == "-" else int(file))


def _golden(line: str) -> Golden:
    place, _, function = line.removesuffix(INTERRUPTED_MARK).partition(" ")
    file, _, offset = place.rpartition("+")
    return Golden(file, int(offset, 16), function, line.endswith(INTERRUPTED_MARK))


def load_all() -> dict[str, Recording]:
    """All that are kept, by name."""
    return {path.stem: loads(path.read_text()) for path in sorted(DIRECTORY.glob("*.json"))}
