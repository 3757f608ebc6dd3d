# SPDX-License-Identifier: Apache-2.0
"""Whatever the pipeline hands over, the request is one Parca takes, with nothing lost."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.encode.proto import profilestore_pb2
from collector.encode.writeraw import encode, valid_labels
from collector.model import Executable, Frame, Profile, Series
from tests.doubles.parca_rules import check_request

FRAME = Frame(Executable("/bin/x", "ab"), 0x10, "f")
text = st.text(st.characters(), max_size=8)
executables = st.builds(Executable, text, st.sampled_from(["", "ab", "cd"]))
frames = st.builds(Frame, executables, st.integers(-(2**63), 2**64 - 1), text, text)
stacks = st.lists(frames, max_size=5).map(tuple)
samples = st.lists(st.tuples(stacks, st.integers(0, 2**40)), max_size=5).map(tuple)
labels = st.lists(st.tuples(text, text), max_size=4).map(tuple)
series_lists = st.lists(st.builds(Series, labels, samples), max_size=4).map(tuple)
times = st.integers(1, 2**62)
profiles = st.builds(Profile, times, st.integers(0, 2**62), times, series_lists)


@settings(max_examples=150, deadline=None)
@given(profiles)
def test_any_profile_is_accepted_and_conserved(profile):
    rows = check_request(encode(profile))
    assert sum(row.value for row in rows) == profile.samples
    assert {row.time_ns for row in rows} <= {profile.time_ns}
    assert all(row.stack for row in rows)


def test_one_series_per_label_set_with_its_samples():
    series = (
        Series((("comm", "a"), ("pid", "1")), (((FRAME,), 3),)),
        Series((("comm", "b"), ("pid", "2")), (((FRAME, FRAME), 4), ((FRAME,), 1))),
        Series((("comm", "idle"),), ()),
    )
    data = encode(Profile(10**18, 10**10, 10**7, series))
    assert profilestore_pb2.WriteRawRequest.FromString(data).normalized
    rows = check_request(data)
    assert Counter((dict(row.labels)["comm"], row.stack, row.value) for row in rows) == Counter(
        [("a", ("f",), 3), ("b", ("f", "f"), 4), ("b", ("f",), 1)]
    )
    assert {row.profile_type for row in rows} == {"parca_agent:samples:count:cpu:nanoseconds:delta"}


def test_labels_become_prometheus_labels():
    given_labels = (
        ("node", "a"),
        ("node", "second"),
        ("k8s.io/pod", "p"),
        ("k8s_io_pod", "same name"),
        ("9lives", "x"),
        ("__name__", "mine"),
        ("empty", ""),
        ("", "nameless"),
    )
    assert valid_labels(given_labels) == {
        "__name__": "parca_agent",
        "node": "a",
        "k8s_io_pod": "p",
        "_9lives": "x",
    }


def test_an_empty_window_is_an_empty_request():
    assert check_request(encode(Profile(1, 1, 1, ()))) == []
