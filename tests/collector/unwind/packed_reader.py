# SPDX-License-Identifier: Apache-2.0
"""Looks addresses up in chunks, step by step as the kernel side does."""

from __future__ import annotations

import struct
from bisect import bisect_right

from collector.unwind.rows import END, Cfa, Rule, Saved

DATA = 3968
HEAD = struct.Struct("=8H")
RULE = struct.Struct("=BBhi")


class Chunk:
    """One chunk, taken to pieces; every promise of its layout is checked."""

    def __init__(self, body):
        assert len(body) == HEAD.size + DATA
        rows, *parts = HEAD.unpack_from(body)
        data = body[HEAD.size :]
        assert 0 < rows <= 1023
        self.parts = parts
        self.starts = struct.unpack_from(f"={rows}H", data)
        numbers = data[2 * rows : 3 * rows]
        count = max(numbers) + 1
        assert count <= 255
        assert 3 * rows + 8 * count <= DATA
        rules = [RULE.unpack_from(data, DATA - 8 * (number + 1)) for number in range(count)]
        self.rules = [
            Rule(Cfa(cfa), offset, Saved(frame), frame_offset)
            for cfa, frame, frame_offset, offset in (rules[number] for number in numbers)
        ]


class Reader:
    def __init__(self, packed):
        keys = [key for key, _ in packed.chunks]
        assert keys == sorted(set(keys))
        assert all(0 <= key < 1 << 32 for key in keys)
        self.shift = packed.page_shift
        self.chunks = {key: Chunk(body) for key, body in packed.chunks}
        for key, chunk in self.chunks.items():
            self.check(key, chunk)

    def check(self, key, chunk):
        assert list(chunk.starts) == sorted(set(chunk.starts))
        assert chunk.starts[-1] < 1 << self.shift
        if key & 7:
            assert chunk.starts[0] == self.chunks[key & ~7].parts[(key & 7) - 1] > 0
            assert not any(chunk.parts)
        else:
            assert chunk.starts[0] == 0
            used = [part for part in chunk.parts if part]
            assert chunk.parts == used + [0] * (7 - len(used))
            assert all(key + 1 + part in self.chunks for part in range(len(used)))

    def rule_at(self, offset):
        page, within = offset >> self.shift, offset & ((1 << self.shift) - 1)
        chunk = self.chunks.get(page << 3)
        if chunk is None:
            return END
        part = sum(0 < begin <= within for begin in chunk.parts)
        if part:
            chunk = self.chunks[page << 3 | part]
        return chunk.rules[bisect_right(chunk.starts, within) - 1]
