# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

from __future__ import annotations

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def count(number: int) -> str:
    """1234567 as `1,234,567`."""
    return f"{number:,}"


def size(number: int, unit: str = " MiB") -> str:
    """Bytes in MiB with one decimal."""
    return f"{number / (1 << 20):.1f}{unit}"


def ago(seconds: float) -> str:
    """A duration in its largest whole unit: `12 min`."""
    for length, unit in _STEPS:
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{seconds:.0f} s"
