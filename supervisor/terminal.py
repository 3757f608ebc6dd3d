# SPDX-License-Identifier: Apache-2.0
"""What the person at the terminal sees: messages, and one live line below them."""

from __future__ import annotations

import shutil
from typing import TextIO

LIVE_INTERVAL = 1.0
PLAIN_INTERVAL = 5.0
"""Seconds between status lines where they cannot be redrawn, as in a log file."""


class Terminal:
    """Writes to one stream; on a terminal the status line is redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._shown = ""
        self._written = -PLAIN_INTERVAL

    @property
    def interval(self) -> float:
        """Seconds between two status lines that are shown."""
        return LIVE_INTERVAL if self._live else PLAIN_INTERVAL

    def message(self, text: str) -> None:
        """A line that stays, above the status line."""
        self._stream.write(f"{self._clear()}{text}\n{self._shown}")
        self._stream.flush()

    def status(self, text: str, now: float, short: str = "") -> None:
        """The status line, or `short` where the terminal is too narrow for it.

        `now` in seconds decides whether a log is due for another one.
        """
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            clear = self._clear()
            self._shown = (text if len(text) <= width else short or text)[:width]
            self._stream.write(clear + self._shown)
        elif now - self._written >= PLAIN_INTERVAL:
            self._written = now
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the last status line standing."""
        if self._shown:
            self._stream.write("\n")
            self._stream.flush()
            self._shown = ""

    def _clear(self) -> str:
        return "\r\x1b[K" if self._shown else ""


class Lines:
    """Bytes of a child's output into lines that are safe to show."""

    LIMIT = 4096
    """Bytes of one line; a longer one is shown in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that data completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > self.LIMIT:
            whole.append(self._rest[: self.LIMIT])
            self._rest = self._rest[self.LIMIT :]
        return [printable(line) for line in whole]

    def end(self) -> list[str]:
        """What is left when the output ends without a newline."""
        rest, self._rest = self._rest, b""
        return [printable(rest)] if rest else []


def printable(text: bytes | str) -> str:
    """Text without control characters: an agent process may repeat what hostile ones said."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
