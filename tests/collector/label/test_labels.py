# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.label.labels import NAMES, Host, LabelError, external, labels
from collector.model import Process, ProcessId

HOST = Host("host-1", "6.1.0-13-amd64", "x86_64")
ANY = st.text(st.characters())
HOSTILE = [
    "{\"'\\\n\0",
    "x" * 4096,
    "p\u0430ypal",  # a Cyrillic letter: kept, because it is printable
    "\x1b]0;owned\x07",
    "\u202egnp.exe",
    'comm="a",tenant="b"',
    "__name__",
]


def process(comm="python3", pid=42, parent=1, uid=1000):
    return Process(ProcessId(pid, 7, 1), parent, uid, comm, 5, kernel_thread=False)


def test_the_labels_of_a_process():
    assert labels(process(), None, "python3.11", HOST) == (
        ("arch", "x86_64"),
        ("comm", "python3"),
        ("executable", "python3.11"),
        ("kernel_release", "6.1.0-13-amd64"),
        ("node", "host-1"),
        ("pid", "42"),
        ("ppid", "1"),
        ("uid", "1000"),
    )


def test_threads_are_named_when_asked_for():
    with_thread = dict(labels(process(), "worker-1", "python3.11", HOST))
    assert with_thread["thread_name"] == "worker-1"
    assert set(with_thread) == NAMES


def test_an_empty_value_is_no_label():
    assert "executable" not in dict(labels(process("kthreadd"), None, "", HOST))


def test_names_are_sorted_with_external_labels_among_them():
    host = Host("h", "6", "x", external({"region": "eu", "alpha": "1", "gone": ""}))
    names = [name for name, _ in labels(process(), None, "", host)]
    assert names == sorted(names)
    assert {"region", "alpha"} < set(names)
    assert "gone" not in names


@pytest.mark.parametrize("text", HOSTILE)
def test_sec_13_hostile_names_become_harmless_values(text):
    pairs = labels(process(text), text, text, Host(text, text, text))
    assert {name for name, _ in pairs} == NAMES
    for _, value in pairs:
        assert value.isprintable()
        assert len(value.encode()) <= 255


@given(ANY, st.none() | ANY, ANY)
def test_sec_13_any_names_give_a_fixed_key_set(comm, thread, executable):
    pairs = labels(process(comm), thread, executable, HOST)
    assert {name for name, _ in pairs} <= NAMES
    assert len(dict(pairs)) == len(pairs)
    assert all(value.isprintable() and len(value.encode()) <= 255 for _, value in pairs)


@pytest.mark.parametrize("name", ["__name__", "__meta_x", "tenant", "tenant_id", *sorted(NAMES)])
def test_sec_13_reserved_names_are_refused(name):
    with pytest.raises(LabelError, match=f"label {name}: the name is reserved"):
        external({name: "x"})


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a\n", "ä", "x" * 129])
def test_names_are_of_the_prometheus_form(name):
    with pytest.raises(LabelError, match=re.escape("[a-zA-Z_][a-zA-Z0-9_]*")):
        external({name: "x"})


def test_external_labels_are_bounded():
    with pytest.raises(LabelError, match="33 labels"):
        external({f"l{i}": "x" for i in range(33)})
