# SPDX-License-Identifier: Apache-2.0
"""What became of every window; field names are metric names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpoolCounters:
    """Since this process started; windows unless the name says otherwise.

    evicted_acknowledged: deleted after every destination had settled them.
    evicted_unacknowledged: deleted before that, with their samples.
    refused_full: never written for want of room. refused_error: for any other reason.
    torn_files: half-written, found and removed at the start.
    foreign_files: names in the directory that are no windows, left alone.
    """

    written: int = 0
    written_bytes: int = 0
    written_samples: int = 0
    evicted_acknowledged: int = 0
    evicted_unacknowledged: int = 0
    evicted_unacknowledged_samples: int = 0
    refused_full: int = 0
    refused_error: int = 0
    torn_files: int = 0
    foreign_files: int = 0
