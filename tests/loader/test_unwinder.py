# SPDX-License-Identifier: Apache-2.0
"""A verifier that refuses the unwinder: frame pointers go on, and the report says why."""

from __future__ import annotations

import os
import struct

import pytest

from libbpf.maps import Map
from loader import probe
from tests.loader import tracer

pytestmark = pytest.mark.root

TYPE_PERF_EVENT = 7
CONTEXT_BEYOND = struct.pack("=BBhi", 0x79, 0x10, 0x1000, 0)
"""r0 = *(u64 *)(r1 + 4096), where the context has 184 bytes (linux/bpf.h, struct bpf_insn)."""


class Spoiler:
    """Overwrites the first instruction of the first perf_event program that is loaded, in the
    loader's memory, wherever it is loaded from again."""

    def __init__(self, programs: int) -> None:
        self.left = programs
        self.spoiled: set[int] = set()

    def __call__(self, call: tracer.Call) -> None:
        if call.command != tracer.PROG_LOAD:
            return
        memory = os.open(f"/proc/{call.pid}/mem", os.O_RDWR)
        try:
            attributes = os.pread(memory, 16, call.arguments[1])
            kind, _, instructions = struct.unpack("=IIQ", attributes)
            if kind == TYPE_PERF_EVENT and instructions not in self.spoiled and self.left:
                self.left -= 1
                self.spoiled.add(instructions)
                os.pwrite(memory, CONTEXT_BEYOND, instructions)
        finally:
            os.close(memory)


def test_without_the_unwinder_there_are_frame_pointers(stand):
    assert stand.load(Spoiler(0)).code == 0
    whole = stand.report()
    pins = stand.pins()["gen-1"]
    assert whole["unwinder"] == {"loaded": True, "refused": ""}
    assert "sampler" not in whole["programs"]

    ended = stand.load(Spoiler(1))
    assert ended.code == 0, ended.output
    report = stand.report()
    assert report["unwinder"] == {
        "loaded": False,
        "refused": "invalid bpf_context access off=4096 size=8",
    }
    assert set(report["programs"]) == {*whole["programs"], "sampler"} - {"unwinder"}
    assert stand.pins() == {"gen-2": pins}


def test_without_either_there_is_a_refusal(stand):
    ended = stand.load(Spoiler(2))
    assert ended.code == 2
    assert "invalid bpf_context access off=4096 size=8" in ended.output
    assert len(ended.output.splitlines()) == 1
    assert stand.pins() == {}


def test_the_operator_may_do_without(stand):
    stand.configure(unwinding="frame_pointers")
    assert stand.load().code == 0
    assert stand.report()["unwinder"] == {"loaded": False, "refused": ""}


def test_tables_take_what_was_asked_and_on_small_machines_less(stand):
    stand.configure(unwind_memory_mib=3)
    assert stand.load().code == 0
    assert chunks(stand) == 3 * 256
    stand.configure(unwind_memory_mib=0)
    assert stand.load().code == 0
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert probe.unwind_memory() == pytest.approx(min(64 << 20, total / 64), rel=0.01)
    assert chunks(stand) == probe.unwind_memory() // 4096


def chunks(stand):
    """max_entries of the map of unwind rows."""
    (generation,) = stand.pins()
    found = Map.open_pin(str(stand.layout.pins / generation / "unwind_chunks"))
    os.close(found.fd)
    return found.max_entries
