# SPDX-License-Identifier: Apache-2.0
"""All destinations at once, a thread each: one that is down holds up no other."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from collector.config import Destination, ShipConfig
from collector.ship.backoff import Backoff
from collector.ship.sender import Sender
from collector.ship.stop import Stop
from collector.ship.transport import Transport
from collector.spool.reader import SpoolReader

# A server that answers at all answers within this.
_TIMEOUT_SECONDS = 60.0

# How long a request in flight may go on once we are told to stop.
_GRACE_SECONDS = 3.0


class Fleet:
    """The senders of a configuration. Raises SpoolError if spool or cursors cannot be used."""

    def __init__(
        self,
        config: ShipConfig,
        state_directory: int,
        *,
        stop: Stop,
        poll_seconds: float,
        backoff: Backoff,
    ) -> None:
        self._stop = stop
        self._state_directory = state_directory
        self._poll_seconds = poll_seconds
        self._backoff = backoff
        self._broken = False
        spool = SpoolReader(Path(config.spool_dir))
        senders = [self._sender(destination, spool) for destination in config.destinations]
        self._threads = [
            threading.Thread(target=self._run, args=(sender,), daemon=True) for sender in senders
        ]

    def _sender(self, destination: Destination, spool: SpoolReader) -> Sender:
        return Sender(
            destination.name,
            writer=Transport(destination, _TIMEOUT_SECONDS),
            spool=spool,
            state_directory=self._state_directory,
            stop=self._stop.event,
            backoff=self._backoff,
            poll_seconds=self._poll_seconds,
        )

    def run(self) -> int:
        """Ships until told to stop; exit status 1 if a sender could not go on."""
        for thread in self._threads:
            thread.start()
        self._stop.wait()
        deadline = time.monotonic() + _GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return 1 if self._broken else 0

    def _run(self, sender: Sender) -> None:
        try:
            sender.run()
        finally:
            # The process must not live on with a sender missing.
            if not self._stop.event.is_set():
                self._broken = True
                self._stop.ask()
