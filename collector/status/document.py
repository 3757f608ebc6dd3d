# SPDX-License-Identifier: Apache-2.0
"""From a snapshot to the bytes that leave the socket."""

from __future__ import annotations

import dataclasses

from collector.status.codec import encode
from collector.status.health import assess
from collector.status.snapshot import Report, Snapshot


def report(snapshot: Snapshot) -> Report:
    """The snapshot with the judgement over it."""
    fields = {f.name: getattr(snapshot, f.name) for f in dataclasses.fields(Snapshot)}
    return Report(**fields, health=assess(snapshot))


def answer(snapshot: Snapshot) -> bytes:
    """One line of JSON: what StatusServer sends."""
    return encode(report(snapshot))
