# SPDX-License-Identifier: Apache-2.0
"""SIGINT, SIGTERM and SIGHUP as something a selector can wait for."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Counts the requests to stop; `descriptor` becomes readable with each of them."""

    def __init__(self) -> None:
        self.count = 0
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._count) for number in STOPS}
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.descriptor)
        os.close(self._writer)

    def drain(self) -> None:
        """Make `descriptor` unreadable again."""
        os.read(self.descriptor, 4096)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
