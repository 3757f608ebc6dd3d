# SPDX-License-Identifier: Apache-2.0
"""Parts of a snapshot out of the kernel programs' counters and the shipper's cursors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from collector.status.snapshot import Samples, Stacks, Upload

if TYPE_CHECKING:
    from collector.spool.cursor import Cursor

RECORDED = "recorded"
LOST = "lost_"
USER_END = "user_"
USER_COMPLETE = "user_complete"
FEW_STACKS = 100
UPLOAD_COUNTERS = ("attempts", "parked", "corrupt", "vanished")


def samples(outcomes: Mapping[str, int], per_second: Mapping[str, float]) -> Samples:
    """`outcomes` are the first fields of struct counters, `per_second` their rates (Rates)."""
    lost = [name for name in outcomes if name.startswith(LOST)]
    dropped = sum(outcomes[name] for name in lost)
    dropping = sum(per_second.get(name, 0.0) for name in lost)
    return Samples(
        total=outcomes[RECORDED] + dropped,
        per_second=per_second.get(RECORDED, 0.0) + dropping,
        dropped=dropped,
        dropped_per_second=dropping,
        outcomes=dict(outcomes),
        outcomes_per_second={name: per_second.get(name, 0.0) for name in outcomes},
    )


def stacks(last_window: int, counters: Mapping[str, int]) -> Stacks:
    """`counters` is all of struct counters; those of another kind are passed over."""
    ends = {name: count for name, count in counters.items() if name.startswith(USER_END)}
    complete = ends.get(USER_COMPLETE, 0)
    percent = 100.0 * complete / sum(ends.values()) if complete else 0.0
    return Stacks(last_window, ends, percent)


def whole_percent(gained: Mapping[str, int]) -> float | None:
    """Share of the user stacks that reached their bottom; None of too few to say."""
    ends = sum(count for name, count in gained.items() if name.startswith(USER_END))
    return 100.0 * gained.get(USER_COMPLETE, 0) / ends if ends >= FEW_STACKS else None


def upload(cursor: Cursor, pending: int, now_ns: int) -> Upload:
    """`pending` is the number of windows above cursor.acknowledged, `now_ns` Unix time."""
    acknowledged = cursor.acknowledged_time_ns
    failing = cursor.last_error_time_ns > acknowledged
    return Upload(
        destination=cursor.destination,
        acknowledged=cursor.acknowledged,
        acknowledged_age_seconds=max(now_ns - acknowledged, 0) / 1e9 if acknowledged else None,
        windows=cursor.windows,
        bytes=cursor.bytes,
        pending=pending,
        last_error=cursor.last_error if failing else "",
        counters={name: getattr(cursor, name) for name in UPLOAD_COUNTERS},
    )
