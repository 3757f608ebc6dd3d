# SPDX-License-Identifier: Apache-2.0
"""What Parca accepts by WriteRaw, as strict as its strictest version, and what kills it.

check_request() is the whole of it: bytes in, rows out, or RejectedError, or CrashError for
input that takes the real server's process down. Where Parca silently loses data (sample
labels, a missing time) the double rejects, since nobody sends that on purpose.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from collector.encode.proto import pprof_pb2, profilestore_pb2

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_UNKNOWN = grpc.StatusCode.UNKNOWN


class RejectedError(Exception):
    """The server answers with `code`."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class CrashError(Exception):
    """The real server would be gone now."""


@dataclass(frozen=True)
class Row:
    """One stored sample. A frame is its function's name, or build id + address if it has none."""

    profile_type: str
    labels: tuple[tuple[str, str], ...]
    time_ns: int
    duration_ns: int
    period: int
    stack: tuple[str, ...]
    value: int


def _demand(condition: Any, reason: str, code: grpc.StatusCode = _INVALID) -> None:
    if not condition:
        raise RejectedError(code, reason)


def check_request(data: bytes) -> list[Row]:
    """Rows of a serialized WriteRawRequest; one bad series rejects all of it."""
    try:
        request = profilestore_pb2.WriteRawRequest.FromString(data)
    except DecodeError as error:
        raise RejectedError(_INVALID, "not a WriteRawRequest") from error
    return [row for series in request.series for row in _check_series(series)]


def _check_series(series: profilestore_pb2.RawProfileSeries) -> list[Row]:
    if not series.HasField("labels"):
        raise CrashError("series without a label set")
    names = [label.name for label in series.labels.labels]
    _demand(len(set(names)) == len(names), f"duplicate label in {names}")
    _demand(all(_LABEL_NAME.match(name) for name in names), f"bad label name in {names}")
    labels = {label.name: label.value for label in series.labels.labels}
    name = labels.pop("__name__", "")
    _demand(name, "no __name__")
    identity = tuple(sorted(labels.items()))
    return [row for raw in series.samples for row in _check_raw(raw, name, identity)]


def decode_profile(raw: bytes) -> pprof_pb2.Profile:
    """A pprof profile, gzipped or plain."""
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise RejectedError(_UNKNOWN, "broken gzip") from error
    try:
        return pprof_pb2.Profile.FromString(raw)
    except DecodeError as error:
        raise RejectedError(_INVALID, "not a profile") from error


def _check_raw(raw: profilestore_pb2.RawSample, name: str, labels: Any) -> list[Row]:
    profile = decode_profile(raw.raw_profile)
    check_profile(profile)
    infos = len(raw.executable_info)
    _demand(infos in (0, len(profile.mapping)), "executable_info must be one per mapping")
    types = _profile_types(profile, name)
    return [
        Row(
            profile_type=types[column],
            labels=labels,
            time_ns=profile.time_nanos,
            duration_ns=profile.duration_nanos,
            period=profile.period,
            stack=tuple(_frames(profile, sample)),
            value=value,
        )
        for sample in profile.sample
        for column, value in enumerate(sample.value)
        if value != 0
    ]


def _profile_types(profile: pprof_pb2.Profile, name: str) -> list[str]:
    text = profile.string_table
    period = [text[profile.period_type.type], text[profile.period_type.unit]]
    delta = ["delta"] if profile.duration_nanos else []
    types = []
    for value_type in profile.sample_type:
        parts = [name, text[value_type.type], text[value_type.unit], *period, *delta]
        full = ":".join(parts)
        _demand(all(parts) and _METRIC_NAME.match(full), f"bad profile type {full}", _UNKNOWN)
        types.append(full)
    return types


def _frames(profile: pprof_pb2.Profile, sample: pprof_pb2.Sample) -> list[str]:
    names = []
    for number in sample.location_id:
        location = profile.location[number - 1]
        for line in location.line:
            function = profile.function[line.function_id - 1]
            names.append(profile.string_table[function.name])
        if not location.line:
            build_id = profile.mapping[location.mapping_id - 1].build_id
            names.append(f"{profile.string_table[build_id]}+{location.address:#x}")
    return names


def check_profile(profile: pprof_pb2.Profile) -> None:
    """The rules of one profile."""
    if not profile.string_table:
        raise CrashError("empty string table")
    _demand(profile.string_table[0] == "", "string_table[0] is not empty")
    for table in (profile.mapping, profile.function, profile.location):
        ids = [entry.id for entry in table]
        _demand(ids == list(range(1, len(ids) + 1)), "ids are not 1..n in table order")
    _demand(profile.time_nanos > 0, "no time: the rows would sit at the epoch")
    _demand(profile.sample_type, "no sample type")
    _check_strings(profile)
    _check_locations(profile)
    for sample in profile.sample:
        _check_sample(profile, sample)


def _check_strings(profile: pprof_pb2.Profile) -> None:
    used = [profile.drop_frames, profile.keep_frames, profile.default_sample_type]
    used += profile.comment
    for value_type in (*profile.sample_type, profile.period_type):
        used += [value_type.type, value_type.unit]
    for mapping in profile.mapping:
        used += [mapping.filename, mapping.build_id]
    for function in profile.function:
        used += [function.name, function.system_name, function.filename]
    size = len(profile.string_table)
    _demand(all(0 <= index < size for index in used), "string index out of range")


def _check_locations(profile: pprof_pb2.Profile) -> None:
    for location in profile.location:
        _demand(location.mapping_id <= len(profile.mapping), "mapping_id out of range")
        for line in location.line:
            # 0 is accepted by Parca and refused by pprof.
            _demand(0 < line.function_id <= len(profile.function), "function_id out of range")


def _check_sample(profile: pprof_pb2.Profile, sample: pprof_pb2.Sample) -> None:
    _demand(len(sample.value) == len(profile.sample_type), "values do not match sample types")
    known = len(profile.location)
    _demand(all(0 < number <= known for number in sample.location_id), "location_id out of range")
    _demand(not sample.label, "sample labels: the server would keep their names and no value")
