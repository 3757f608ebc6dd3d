# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.encode import writeraw
from collector.encode.proto import pprof_pb2, profilestore_pb2
from collector.model import Executable, Frame, Profile, Series
from collector.report import decode as module
from collector.report.decode import decode
from collector.report.errors import ReportError


def bare(profile: Profile) -> Profile:
    series = (
        Series(tuple(pair for pair in one.labels if pair[0] != "__name__"), one.samples)
        for one in profile.series
    )
    return Profile(profile.time_ns, profile.duration_ns, profile.period_ns, tuple(series))


def test_it_is_the_inverse_of_the_encoder(profile: Profile) -> None:
    assert bare(decode(writeraw.encode(profile))) == profile


def test_an_empty_window_has_no_series() -> None:
    assert decode(b"") == Profile(0, 0, 0, ())


def request(raw: bytes) -> bytes:
    message = profilestore_pb2.WriteRawRequest()
    message.series.add().samples.add(raw_profile=raw)
    return message.SerializeToString()


def pprof(**fields: object) -> bytes:
    return request(gzip.compress(pprof_pb2.Profile(**fields).SerializeToString()))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xff", "not a WriteRawRequest"),
        (request(b"plain"), "not gzip"),
        (request(gzip.compress(b"x" * 100)[:-9]), "cut off"),
        (request(gzip.compress(b"\xff\xff")), "not a pprof profile"),
        (pprof(sample=[{"location_id": [1], "value": [1]}]), "location 1 of 0"),
        (pprof(sample=[{"value": [1, 2]}]), "one value"),
        (pprof(sample=[{"value": [-1]}]), "one value"),
        (pprof(location=[{"mapping_id": 0}]), "mapping 0 of 0"),
        (pprof(mapping=[{"filename": 3}]), "string 3 of 0"),
        (
            pprof(string_table=[""], mapping=[{}], location=[{"mapping_id": 1, "line": [{}]}]),
            "function 0 of 0",
        ),
    ],
)
def test_what_the_encoder_never_writes_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(ReportError, match=reason):
        decode(payload)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(ReportError, match="more than 1000 bytes"):
        decode(request(gzip.compress(bytes(1_000_000))))


def test_an_inlined_function_is_a_frame_of_its_own() -> None:
    payload = pprof(
        string_table=["", "inner", "outer", "/bin/x", "abcd"],
        mapping=[{"id": 1, "filename": 3, "build_id": 4}],
        function=[{"id": 1, "name": 1}, {"id": 2, "name": 2}],
        location=[
            {"mapping_id": 1, "address": 9, "line": [{"function_id": 1}, {"function_id": 2}]}
        ],
        sample=[{"location_id": [1], "value": [3]}],
    )
    executable = Executable("/bin/x", "abcd")
    assert decode(payload).series[0].samples == (
        ((Frame(executable, 9, "inner"), Frame(executable, 9, "outer")), 3),
    )


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(gzip.compress).map(request)))
def test_any_bytes_give_a_profile_or_a_report_error(payload: bytes) -> None:
    try:
        found = decode(payload)
    except ReportError:
        return
    assert isinstance(found, Profile)
