# SPDX-License-Identifier: Apache-2.0
"""Answers of a worker that was taken over: a value, or WorkerError, and never anything else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.symbolize.client import (
    ElfClient,
    FileRefusedError,
    WorkerDiedError,
    WorkerUnavailableError,
    parse_description,
    parse_names,
)
from collector.symbolize.tables import BODY_SIZE, parse_table
from collector.worker.wire import MAX_TABLE, WireError, decode, encode

TABLE = {"page_shift": 16, "rows": 9, "left_out": 0, "refused": 1}


def chunk(key, rows=1, parts=()):
    head = struct.pack("=IH7H", key, rows, *parts, *[0] * (7 - len(parts)))
    return head.ljust(4 + BODY_SIZE, b"\x01")


GOOD = {"build_id": "ab", "build_id_type": "gnu", "segments": [[0, 4096, 100]]}


@pytest.fixture
def answering(tmp_path):
    """Makes a client whose worker answers each connection's first request with given bytes."""
    path = str(tmp_path / "elf.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve(answer):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    _, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
                    for fd in descriptors:
                        os.close(fd)
                    connection.sendall(answer)

    def make(answer, deadline=5.0):
        threading.Thread(target=serve, args=(answer,), daemon=True).start()
        return ElfClient(path, deadline=deadline)

    yield make
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff" + b"x" * 100,
        b"\0\0\0\x08{}",
        b"\0\0\0\x02[]",
        b"\0\0\0\x04nope",
        encode({}),
        encode(GOOD | {"build_id": "AB"}),
        encode(GOOD | {"build_id": "a"}),
        encode(GOOD | {"build_id": "ab" * 65}),
        encode(GOOD | {"build_id": None}),
        encode(GOOD | {"build_id_type": "go"}),
        encode(GOOD | {"segments": [[0, 0, 0]] * 257}),
        encode(GOOD | {"segments": [[0, 0]]}),
        encode(GOOD | {"segments": [[0, 0, -1]]}),
        encode(GOOD | {"segments": [[0, 0, True]]}),
        encode(GOOD | {"segments": [[0, 0, 1.0]]}),
        encode(GOOD | {"segments": [[0, 0, 1 << 65]]}),
        encode(GOOD | {"segments": {}}),
    ],
)
def test_a_bad_answer_is_the_workers_end(answering, answer):
    with pytest.raises(WorkerDiedError):
        answering(answer).describe(0)


def test_a_good_answer(answering):
    assert answering(encode(GOOD)).describe(0).segments == ((0, 4096, 100),)


@pytest.mark.parametrize(
    "row",
    [
        [0, 4, "f"],  # the address is 4
        [5, 8, "f"],
        [4, 8, ""],
        [4, 8, "a\nb"],
        [4, 8, "a\u202eb"],
        [4, 8, "a" * 513],
        [4, 8, 7],
        [4, 8],
        [4, (1 << 64) + 1, "f"],
        "row",
    ],
)
def test_a_name_must_fit_its_address(answering, row):
    with pytest.raises(WorkerDiedError):
        answering(encode({"names": [row]})).names(0, [4])


@pytest.mark.parametrize("rows", [[], [[4, 8, "f"]] * 2])
def test_there_must_be_one_name_for_each_address(answering, rows):
    with pytest.raises(WorkerDiedError):
        answering(encode({"names": rows})).names(0, [4])


def test_a_refusal_is_the_files_fault(answering):
    with pytest.raises(FileRefusedError, match="no executable"):
        answering(encode({"error": "no executable"})).describe(0)


def test_no_answer_in_time_is_nobodys_fault(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "elf.sock"))
        listener.listen()
        client = ElfClient(str(tmp_path / "elf.sock"), deadline=0.05)
        with pytest.raises(WorkerUnavailableError):
            client.describe(0)
        client.close()


def table_answer(data, **changes):
    return encode(TABLE | {"bytes": len(data)} | changes) + data


def test_a_good_table(answering):
    chunks = [chunk(8, parts=(4, 6)), chunk(9), chunk(10), chunk(0xFFFFFFF8, rows=1023)]
    table = answering(table_answer(b"".join(chunks))).unwind(0)
    assert (table.page_shift, table.rows, table.left_out, table.refused) == (16, 9, 0, 1)
    assert [key for key, _ in table.chunks] == [8, 9, 10, 0xFFFFFFF8]
    assert [struct.pack("=I", key) + body for key, body in table.chunks] == chunks


def test_a_table_without_chunks(answering):
    assert answering(table_answer(b"")).unwind(0).chunks == ()


@pytest.mark.parametrize(
    "answer",
    [
        encode(TABLE),
        encode(TABLE | {"bytes": -1}),
        encode(TABLE | {"bytes": True}),
        encode(TABLE | {"bytes": MAX_TABLE + 1}) + bytes(100),
        encode(TABLE | {"bytes": 4 + BODY_SIZE}) + bytes(100),
        table_answer(b"", page_shift=9),
        table_answer(b"", page_shift=17),
        table_answer(b"", page_shift=12.0),
        table_answer(b"", rows=None),
        table_answer(b"", refused=-1),
        table_answer(b"", left_out=1 << 32),
        table_answer(chunk(0)[:-1]),
        table_answer(chunk(0, rows=0)),
        table_answer(chunk(0, rows=1024)),
        table_answer(chunk(1)),
        table_answer(chunk(0) + chunk(1)),
        table_answer(chunk(0) + chunk(0)),
        table_answer(chunk(8) + chunk(0)),
        table_answer(chunk(0, parts=(4,))),
        table_answer(chunk(0, parts=(4,)) + chunk(2)),
        table_answer(chunk(0, parts=(4,)) + chunk(1, parts=(5,))),
        table_answer(chunk(0, parts=(4,)) + chunk(8)),
        table_answer(chunk(0, parts=(4, 4)) + chunk(1)),
        table_answer(chunk(0, parts=(0, 4)) + chunk(1)),
        table_answer(chunk(0, parts=(5, 4)) + chunk(1) + chunk(2)),
    ],
)
def test_a_bad_table_is_the_workers_end(answering, answer):
    with pytest.raises(WorkerDiedError):
        answering(answer).unwind(0)


def test_a_file_may_be_refused_a_table(answering):
    with pytest.raises(FileRefusedError, match="machine 183"):
        answering(encode({"error": "machine 183", "bytes": 1 << 40})).unwind(0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
answers = st.dictionaries(
    st.sampled_from(["build_id", "build_id_type", "segments", "names", "error"]), json_values
)


@given(answers, st.lists(st.integers(0, (1 << 64) - 1), max_size=3))
def test_any_object_gives_a_value_or_a_wire_error(answer, addresses):
    with contextlib.suppress(WireError):
        parse_description(answer)
    with contextlib.suppress(WireError):
        assert len(parse_names(answer, addresses)) == len(addresses)


counts = st.sampled_from(["page_shift", "rows", "left_out", "refused"])
keys = st.integers(0, 40) | st.integers(0, (1 << 32) - 1)
parts = st.lists(st.integers(0, 3) | st.integers(0, 0xFFFF), max_size=7)
some_chunks = st.builds(chunk, keys, st.integers(0, 1030), parts) | st.binary(max_size=9)


@given(st.dictionaries(counts, json_values), st.lists(some_chunks, max_size=4))
def test_any_bytes_give_a_table_or_a_wire_error(answer, pieces):
    data = b"".join(pieces)
    for message in (answer, TABLE | answer, TABLE):
        with contextlib.suppress(WireError):
            table = parse_table(message, data)
            assert table.page_shift in range(10, 17)
            assert b"".join(struct.pack("=I", key) + body for key, body in table.chunks) == data
            keys = [key for key, _ in table.chunks]
            assert keys == sorted(set(keys))
            assert all(key & 7 == 0 or key - 1 in keys for key in keys)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_decode_to_an_object_or_a_wire_error(body):
    with contextlib.suppress(WireError):
        assert isinstance(decode(body), dict)


def test_deep_nesting_is_a_wire_error():
    with pytest.raises(WireError):
        decode(b"[" * 500_000)
    with pytest.raises(WireError):
        decode(b'{"n": ' + b"9" * 5000 + b"}")
