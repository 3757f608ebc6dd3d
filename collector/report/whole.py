# SPDX-License-Identifier: Apache-2.0
"""profile.pb.gz: the whole run as one pprof profile, told apart by sample labels."""

from __future__ import annotations

import gzip

from collector.encode.proto import pprof_pb2
from collector.encode.tables import NO_STACK, Tables
from collector.report.merge import Labels, Merged

OF_THE_HOST = frozenset({"node", "kernel_release", "arch"})
"""Labels that are the same in every sample: they become comments of the profile."""


def encode(merged: Merged) -> bytes:
    """A gzipped pprof profile with one sample type, samples/count, and string labels."""
    message = pprof_pb2.Profile()
    tables = Tables(message, "")
    message.sample_type.add(type=tables.string("samples"), unit=tables.string("count"))
    message.period_type.type = tables.string("cpu")
    message.period_type.unit = tables.string("nanoseconds")
    message.period = merged.period_ns
    message.time_nanos = merged.first_ns
    message.duration_nanos = max(1, merged.duration_ns)
    frames = [*merged.frames, NO_STACK]
    by_id = tables.locations({id(frame): frame for frame in frames})
    locations = [by_id[id(frame)] for frame in frames]
    for (labels, stack), count in merged.rows.items():
        numbers = [locations[number] for number in merged.stacks[stack]] or [locations[-1]]
        sample = message.sample.add(location_id=numbers, value=(count,))
        for name, value in labels:
            if name not in OF_THE_HOST:
                sample.label.add(key=tables.string(name), str=tables.string(value))
    for name, value in host_labels(merged):
        message.comment.append(tables.string(f"{name}={value}"))
    return gzip.compress(message.SerializeToString(deterministic=True), 6, mtime=0)


def host_labels(merged: Merged) -> Labels:
    """The labels of the host, from any of the rows; none when there are no rows."""
    labels: Labels = next(iter(merged.rows), ((), 0))[0]
    return tuple(pair for pair in labels if pair[0] in OF_THE_HOST)
