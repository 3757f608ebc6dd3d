# SPDX-License-Identifier: Apache-2.0
"""Ask the collector how it is, and say it in one line.

The answer comes from an unprivileged process: it is bounded, and only numbers are shown.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

ANSWER_BYTES = 1 << 20
DEADLINE_SECONDS = 3.0


class Question:
    """One question to the status socket; register `socket` for reading, then call `read`."""

    def __init__(self, path: Path, now: float) -> None:
        self.asked = now
        self.answer: bytes | None = None
        self._data = bytearray()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def read(self) -> bool:
        """Take what has arrived; True when the conversation is over."""
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._data += data
        if data and len(self._data) <= ANSWER_BYTES:
            return False
        if not data and self._data:
            self.answer = bytes(self._data)
        return True

    def close(self) -> None:
        self.socket.close()


def line(elapsed: float, frequency: int, answer: bytes | None, notes: str = "") -> str:
    """The status line; without a usable answer it says that the collector is starting."""
    clock = f"{int(elapsed) // 60:02d}:{int(elapsed) % 60:02d}  {frequency} Hz"
    document: object = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(answer) if answer is not None else None
    if not isinstance(document, dict):
        return f"{clock}  waiting for the collector{notes}"
    whole = _number(document, "stacks", "user_complete_percent")
    return (
        f"{clock}  {_number(document, 'samples', 'total'):,.0f} samples"
        f"  {_number(document, 'stacks', 'last_window'):,.0f} stacks"
        f"  {_number(document, 'processes', 'tracked'):,.0f} processes"
        f"  {whole:.1f} % whole user stacks"
        f"  {_number(document, 'samples', 'dropped'):,.0f} dropped{notes}"
    )


def shorten(text: str) -> str:
    """The status line for a terminal of 80 columns."""
    return text.replace(" user stacks", "").replace("  ", " ")


def _number(document: dict[str, object], part: str, name: str) -> float:
    inner = document.get(part)
    value = inner.get(name) if isinstance(inner, dict) else None
    fits = isinstance(value, (int, float)) and abs(value) < 1e18  # false for NaN as well
    return float(value) if fits and isinstance(value, (int, float)) else 0.0
