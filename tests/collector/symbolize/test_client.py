# SPDX-License-Identifier: Apache-2.0
"""Answers of a worker that was taken over: a value, or WorkerError, and never anything else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
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
from collector.worker.wire import WireError, decode, encode

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


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_decode_to_an_object_or_a_wire_error(body):
    with contextlib.suppress(WireError):
        assert isinstance(decode(body), dict)


def test_deep_nesting_is_a_wire_error():
    with pytest.raises(WireError):
        decode(b"[" * 500_000)
    with pytest.raises(WireError):
        decode(b'{"n": ' + b"9" * 5000 + b"}")
