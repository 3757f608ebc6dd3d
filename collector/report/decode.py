# SPDX-License-Identifier: Apache-2.0
"""A spool file's payload back into the model: the inverse of collector.encode."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from collector.encode.proto import pprof_pb2, profilestore_pb2
from collector.model import Executable, Frame, Profile, Series
from collector.report.errors import ReportError

MAX_BYTES = 256 << 20
"""Of one window's profiles together once they are decompressed."""

T = TypeVar("T")

_GZIP = 31  # zlib's window bits for a gzip stream


def decode(payload: bytes) -> Profile:
    """A serialized WriteRawRequest as a Profile; ReportError for anything malformed.

    Times are those of the first series; a window without series has zeros.
    """
    try:
        request = profilestore_pb2.WriteRawRequest.FromString(payload)
    except DecodeError as error:
        raise ReportError(f"not a WriteRawRequest: {error}") from None
    room = MAX_BYTES
    header = pprof_pb2.Profile()
    series: list[Series] = []
    for one in request.series:
        labels = tuple((label.name, label.value) for label in one.labels.labels)
        for sample in one.samples:
            data = _decompress(sample.raw_profile, room)
            room -= len(data)
            profile = _parse(data)
            header = header if series else profile
            series.append(Series(labels, _samples(profile)))
    return Profile(header.time_nanos, header.duration_nanos, header.period, tuple(series))


def _decompress(data: bytes, room: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(data, room + 1)
    except zlib.error as error:
        raise ReportError(f"not gzip: {error}") from None
    if len(plain) > room:
        raise ReportError(f"more than {MAX_BYTES} bytes of profiles in one window")
    if not stream.eof:
        raise ReportError("gzip stream is cut off")
    return plain


def _parse(data: bytes) -> pprof_pb2.Profile:
    try:
        return pprof_pb2.Profile.FromString(data)
    except DecodeError as error:
        raise ReportError(f"not a pprof profile: {error}") from None


def _samples(profile: pprof_pb2.Profile) -> tuple[tuple[tuple[Frame, ...], int], ...]:
    frames = _Frames(profile)
    samples = []
    for sample in profile.sample:
        if len(sample.value) != 1 or sample.value[0] < 0:
            raise ReportError("a sample must have one value, and not a negative one")
        stack = [frame for number in sample.location_id for frame in frames.at(number)]
        samples.append((tuple(stack), sample.value[0]))
    return tuple(samples)


class _Frames:
    """The frames of each location; ids count from 1 in table order, as the encoder's do."""

    def __init__(self, profile: pprof_pb2.Profile) -> None:
        self._strings = profile.string_table
        self._functions = profile.function
        self._executables = [
            Executable(self._string(one.filename), self._string(one.build_id))
            for one in profile.mapping
        ]
        self._locations = [self._decode(one) for one in profile.location]

    def at(self, number: int) -> tuple[Frame, ...]:
        return _entry(self._locations, number, "location")

    def _decode(self, location: pprof_pb2.Location) -> tuple[Frame, ...]:
        executable = _entry(self._executables, location.mapping_id, "mapping")
        if not location.line:
            return (Frame(executable, location.address, ""),)
        frames = []
        for line in location.line:  # innermost first, as pprof has it
            function = _entry(self._functions, line.function_id, "function")
            name, file = self._string(function.name), self._string(function.filename)
            frames.append(Frame(executable, location.address, name, file))
        return tuple(frames)

    def _string(self, index: int) -> str:
        if not 0 <= index < len(self._strings):
            raise ReportError(f"string {index} of {len(self._strings)}")
        return self._strings[index]


def _entry(table: Sequence[T], number: int, kind: str) -> T:
    if not 0 < number <= len(table):
        raise ReportError(f"{kind} {number} of {len(table)}")
    return table[number - 1]
