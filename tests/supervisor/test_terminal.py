# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from supervisor.terminal import Lines, Terminal, printable


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_status_line_every_five_seconds() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    for second in range(12):
        terminal.status(f"at {second}", float(second))
    assert stream.getvalue() == "at 0\nat 5\nat 10\n"


def test_a_terminal_redraws_its_line_and_keeps_messages_above() -> None:
    stream = Screen()
    terminal = Terminal(stream)
    terminal.status("one", 0.0)
    terminal.status("two", 1.0)
    terminal.message("hello")
    terminal.end()
    assert stream.getvalue() == "one\r\x1b[Ktwo\r\x1b[Khello\ntwo\n"


def test_a_narrow_terminal_gets_the_short_line() -> None:
    stream = Screen()
    Terminal(stream).status("x" * 1000, 0.0, "short")
    assert stream.getvalue() == "short"


def test_control_characters_are_shown_not_obeyed() -> None:
    assert printable(b"\x1b]0;title\x07ok\xff\r") == r"\x1b]0;title\x07ok\xff\r"


def test_lines_come_whole_and_the_rest_at_the_end() -> None:
    lines = Lines()
    assert lines.feed(b"a\nb") == ["a"]
    assert lines.feed(b"c\n\nd") == ["bc", ""]
    assert lines.end() == ["d"]
    assert lines.end() == []


def test_a_line_without_an_end_is_shown_in_pieces() -> None:
    lines = Lines()
    shown = lines.feed(b"x" * (3 * Lines.LIMIT + 1))
    assert [len(line) for line in shown] == [Lines.LIMIT] * 3
    assert lines.end() == ["x"]


@given(st.binary(max_size=100))
def test_any_bytes_become_one_printable_line(data: bytes) -> None:
    assert printable(data).isprintable()
