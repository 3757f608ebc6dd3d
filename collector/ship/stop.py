# SPDX-License-Identifier: Apache-2.0
"""Being told to stop, by a signal or by a thread that cannot go on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


class Stop:
    """event is set once wait() has returned; threads wait on it, the main thread in wait().

    A pipe carries the news, because a signal handler that set an event could interrupt the
    very code that holds its lock.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def on_signals(self) -> None:
        """SIGTERM and SIGINT ask to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()

    def ask(self) -> None:
        """From any thread or signal handler; a full pipe has said it already."""
        try:
            os.write(self._writing, b"s")
        except BlockingIOError:
            return

    def wait(self) -> None:
        """Returns when asked to stop; costs nothing until then."""
        os.read(self._reading, 1)
        self.event.set()
