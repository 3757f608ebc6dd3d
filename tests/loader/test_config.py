# SPDX-License-Identifier: Apache-2.0
"""loader.conf: any bytes are a Config or a Refusal."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader import config
from loader.config import SCHEMA, Config, parse
from loader.errors import Refusal

words = st.sampled_from(
    [
        *SCHEMA,
        "=",
        " ",
        "\n",
        "#",
        "19",
        "auto",
        "perf",
        "/run/a",
        "..",
        "-1",
        "\u0661",
        "\0",
        "\x85",
    ]
)
texts = st.one_of(
    st.binary(max_size=300).map(lambda raw: raw.decode("ascii", "replace")),
    st.lists(words, max_size=20).map("".join),
)


def outcome(text):
    """(Config or None, the refusal)."""
    try:
        return parse(text, "loader.conf"), ""
    except Refusal as refusal:
        return None, str(refusal)


@settings(max_examples=300, deadline=None)
@given(texts)
@example("frequency = \u00b2")
@example("frequency = " + "9" * 5000)
def test_any_text_is_a_config_or_one_sentence(text):
    found, sentence = outcome(text)
    if found is None:
        assert sentence.startswith("loader.conf:")
        assert len(sentence.splitlines()) == 1
        return
    assert 1 <= found.frequency <= 100_000
    assert found.mode in ("auto", "perf")
    assert 1 <= found.window_seconds <= 600
    assert found.unwinding in ("auto", "frame_pointers")
    assert 0 <= found.unwind_memory_mib <= 1024
    assert {found.threads, found.ignore_unsafe_kernel} <= {0, 1}
    assert 0 <= found.pins_group < 2**32 - 1
    for path in (found.pins_directory, found.report):
        assert path.startswith("/run/")
        assert ".." not in path.split("/")


def test_what_is_not_said_is_the_default():
    assert parse("# nothing\n\n", "x") == Config()
    assert parse(" frequency=97 \n", "x") == Config(frequency=97)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("frequency = 0", "from 1 to 100000"),
        ("frequency = 1e3", "from 1 to 100000"),
        ("frequency", "key = value"),
        ("color = red", "with a key of frequency, mode"),
        ("mode = tick", "one of auto, perf"),
        ("unwinding = dwarf", "one of auto, frame_pointers"),
        ("unwind_memory_mib = 1025", "from 0 to 1024"),
        ("report = /etc/passwd", "below /run"),
        ("report = /run/../etc/passwd", "without '..'"),
        ("threads = 1\nthreads = 0", "set twice"),
    ],
)
def test_a_refusal_names_line_and_what_is_allowed(line, wrong):
    with pytest.raises(Refusal, match=wrong) as refusal:
        parse(line, "loader.conf")
    assert str(refusal.value).startswith(f"loader.conf:{len(line.splitlines())}:")


@pytest.mark.root
def test_the_file_must_be_roots_alone(tmp_path):
    path = tmp_path / "loader.conf"
    path.write_text("frequency = 7\n")
    path.chmod(0o644)
    assert config.read(str(path)).frequency == 7
    link = tmp_path / "link"
    link.symlink_to(path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for other in (link, fifo, tmp_path, tmp_path / "none"):
        with pytest.raises(Refusal):
            config.read(str(other))
    path.chmod(0o664)
    with pytest.raises(Refusal, match="root alone"):
        config.read(str(path))
    path.chmod(0o644)
    os.chown(path, 65534, 0)
    with pytest.raises(Refusal, match="root alone"):
        config.read(str(path))
    os.chown(path, 0, 0)
    path.write_text("#" * (config.MAX_BYTES + 1))
    with pytest.raises(Refusal, match="longer than"):
        config.read(str(path))
