# SPDX-License-Identifier: Apache-2.0
"""Keys, values and events as bpf/abi.h lays them out, built by hand and read back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import ProcessId, StackEnd
from collector.read import decode
from libbpf import abi

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


@given(U32, U32, U64, U64, U64, U64, st.binary(max_size=16), U64)
def test_sample(tgid, tid, start, exec_id, user, kernel, comm, count):
    key = struct.pack("=IIQQQQ16s", tgid, tid, start, exec_id, user, kernel, comm)
    sample = decode.sample(key, struct.pack("=Q", count))
    assert sample.process == ProcessId(tgid, start, exec_id)
    assert (sample.tid, sample.user_stack, sample.kernel_stack) == (tid, user, kernel)
    assert sample.count == count
    assert sample.comm.encode("utf-8", "surrogateescape") == comm.split(b"\0")[0]


@given(st.binary(min_size=8 + 8 * abi.MAX_FRAMES, max_size=8 + 8 * abi.MAX_FRAMES))
def test_any_bytes_of_the_right_size_are_a_stack(raw):
    stack = decode.stack(raw)
    assert len(stack.addresses) <= abi.MAX_FRAMES
    assert stack.end in StackEnd


def test_kernel_stacks_are_signed():
    raw = struct.pack("=IIq", 1, StackEnd.KERNEL, -4096).ljust(8 + 8 * abi.MAX_FRAMES, b"\0")
    assert decode.stack(raw).addresses == (-4096,)


def test_user_stacks_are_not():
    raw = struct.pack("=IIQ", 1, StackEnd.COMPLETE, 2**63 + 1)
    assert decode.stack(raw.ljust(8 + 8 * abi.MAX_FRAMES, b"\0")).addresses == (2**63 + 1,)


def test_words_beyond_the_length_are_not_read():
    raw = struct.pack("=IIQQ", 1, StackEnd.COMPLETE, 1, 0xDEAD).ljust(1024, b"\xff")
    assert decode.stack(raw).addresses == (1,)


@given(st.lists(st.tuples(st.integers(1, 3), U32, U64, U64)), st.binary(max_size=23))
def test_events_and_a_torn_tail(rows, tail):
    raw = b"".join(struct.pack("=IIQQ", *row) for row in rows) + tail
    assert [(e.kind, e.process.pid, e.process.start_time, e.process.exec_id)
            for e in decode.events(raw)] == rows  # fmt: skip


def test_counters_are_summed_over_cpus():
    size = len(decode.COUNTER_NAMES)
    one = struct.pack(f"={size}Q", *range(size))
    total = decode.counters([one, one, one])
    assert total[decode.COUNTER_NAMES[1]] == 3
    assert list(total) == list(decode.COUNTER_NAMES)


def test_the_outcomes_come_first():
    outcomes = decode.COUNTER_NAMES[: abi.OUTCOMES]
    assert outcomes[0] == "recorded"
    assert all(name.startswith(("skipped_", "lost_")) for name in outcomes[1:])
    assert not any(
        n.startswith(("skipped_", "lost_")) for n in decode.COUNTER_NAMES[abi.OUTCOMES :]
    )


def test_the_model_names_the_ends_of_the_abi():
    from libbpf._libbpf import lib

    for end in StackEnd:
        assert getattr(lib, f"STACK_{end.name}") == end


@pytest.mark.parametrize("sequence", [0, 1, 2**63])
def test_control_round_trip(sequence):
    assert decode.control_of(decode.control(7, sequence)) == (7, sequence)
