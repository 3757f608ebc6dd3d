# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervisor import sockets, status

ANSWER = {
    "samples": {"total": 3412, "dropped": 0},
    "stacks": {"last_window": 212, "user_complete_percent": 96.31},
    "processes": {"tracked": 43},
}


def test_the_line_says_everything() -> None:
    assert status.line(12.7, 19, json.dumps(ANSWER).encode()) == (
        "00:12  19 Hz  3,412 samples  212 stacks  43 processes  96.3 % whole user stacks  0 dropped"
    )


def test_the_short_line_says_the_same() -> None:
    assert status.shorten(status.line(3599, 99, json.dumps(ANSWER).encode(), "  3 restarts")) == (
        "59:59 99 Hz 3,412 samples 212 stacks 43 processes 96.3 % whole 0 dropped 3 restarts"
    )


def test_the_line_before_the_first_answer_and_after_an_hour() -> None:
    assert status.line(3725, 99, None) == "62:05  99 Hz  waiting for the collector"


def test_the_names_are_those_of_the_collectors_snapshot() -> None:
    from collector.status import snapshot

    for part, names in ANSWER.items():
        shape = {"samples": snapshot.Samples, "stacks": snapshot.Stacks}.get(
            part, snapshot.Processes
        )
        assert set(names) <= set(shape.__dataclass_fields__)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=5)),
            lambda inner: st.dictionaries(
                st.sampled_from(["samples", "stacks", "total", "user_complete_percent"]), inner
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_answer_gives_one_short_line(answer: bytes) -> None:
    text = status.line(1.0, 19, answer)
    assert text.isprintable()
    assert len(text) < 300


def converse(listener: socket.socket, path: Path, answer: bytes) -> bytes | None:
    question = status.Question(path, time.monotonic())
    peer, _ = listener.accept()
    over = False
    view = memoryview(answer)
    peer.setblocking(False)
    while not over:
        try:
            view = view[peer.send(view[:65_536]) :]
            if not view:
                peer.close()
                view = memoryview(b"")
        except OSError:
            pass
        over = question.read()
    peer.close()
    question.close()
    return question.answer


def test_an_answer_is_read_to_its_end_and_a_huge_one_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with sockets.listen(path, -1, -1, 0o660) as listener:
        assert converse(listener, path, b'{"a": 1}' * 20_000) == b'{"a": 1}' * 20_000
        assert converse(listener, path, b"x" * (status.ANSWER_BYTES + 65_536)) is None


def test_a_socket_left_by_the_dead_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    assert not sockets.is_served(path)
    with sockets.listen(path, -1, -1, 0o640) as _:
        assert sockets.is_served(path)
        assert path.stat().st_mode & 0o777 == 0o640
    assert path.exists()
    assert not sockets.is_served(path)
