# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.status import codec
from collector.status.codec import StatusError, decode, encode, plain
from collector.status.document import answer, report
from collector.status.snapshot import Report
from tests.collector.status.samples import HEALTHY

GOOD = json.loads(answer(HEALTHY))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def paths(value, prefix=()):
    yield prefix
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items if isinstance(value, dict | list) else ():
        if isinstance(item, dict | list):
            yield from paths(item, (*prefix, key))
        else:
            yield (*prefix, key)


def put(path, new):
    copy = json.loads(json.dumps(GOOD))
    if not path:
        return new
    spot = copy
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = new
    return copy


def test_what_is_sent_is_what_is_read():
    assert decode(Report, answer(HEALTHY)) == report(HEALTHY)


def test_the_answer_is_one_line_of_ascii():
    snapshot = dataclasses.replace(HEALTHY, node="h\n\x1b[31mö")
    data = answer(snapshot)
    assert data.isascii()
    assert data.index(b"\n") == len(data) - 1
    assert decode(Report, data).node == snapshot.node


# Any bytes give a Report or StatusError.
@given(st.binary())
def test_any_bytes_give_a_value_or_status_error(data):
    with pytest.raises(StatusError):
        decode(Report, data)


# Any JSON in any place gives a Report that encodes again, or StatusError.
@given(st.sampled_from(list(paths(GOOD))), JSON)
def test_any_json_anywhere_gives_a_value_or_status_error(path, new):
    data = json.dumps(put(path, new)).encode()
    try:
        value = decode(Report, data)
    except StatusError:
        return
    assert decode(Report, encode(value)) == value


def test_a_newer_agent_may_say_more():
    assert decode(Report, json.dumps({**GOOD, "new": [1]}).encode()) == report(HEALTHY)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key_is_named(key):
    less = {k: v for k, v in GOOD.items() if k != key}
    with pytest.raises(StatusError, match=f"report: no {key}"):
        decode(Report, json.dumps(less).encode())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("time_ns",), True),
        (("time_ns",), 1.0),
        (("time_ns",), 1 << 63),
        (("node",), "x" * (codec.MAX_TEXT + 1)),
        (("node",), None),
        (("maps",), [GOOD["maps"][0]] * (codec.MAX_ITEMS + 1)),
        (("maps",), {}),
        (("counters",), {str(i): 0 for i in range(codec.MAX_ITEMS + 1)}),
        (("counters",), {"a": "1"}),
        (("uptime_seconds",), float("inf")),
        (("uptime_seconds",), "1"),
        (("spool", "writable"), 1),
    ],
)
def test_types_and_sizes_are_checked(path, value):
    with pytest.raises(StatusError):
        decode(Report, json.dumps(put(path, value)).encode())


@pytest.mark.parametrize(
    "data",
    [b"[" * 200_000, b"9" * 5_000, b" " * (codec.MAX_BYTES + 1), b'"\xff"'],
    ids=["deep", "long number", "too long", "not UTF-8"],
)
def test_bombs_are_status_errors(data):
    with pytest.raises(StatusError):
        decode(Report, data)


def test_only_values_of_a_status_are_encoded():
    with pytest.raises(TypeError, match="bytes"):
        plain({"a": b""})
    with pytest.raises(ValueError, match="JSON"):
        encode((float("nan"),))
