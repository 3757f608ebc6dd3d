# SPDX-License-Identifier: Apache-2.0
"""The status socket: one JSON object per connection, then the end.

The file mode of the socket (root:parca-agent-status 0660) is the lock; the peer's credentials
are a second one behind it. Nothing is ever read from a peer, so there is no request to parse,
and descriptors sent along die with the connection. An answer fits an empty socket buffer, so a
peer that does not read costs nothing either: the rest is cut and counted.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h, linux 4.13
OVERFLOW_ID = 65534  # what an id outside our user namespace looks like
BATCH = 16  # connections per call of handle: the pipeline has other work
BURST = 40
PER_SECOND = 20.0
CACHE_SECONDS = 0.25
NOT_ALLOWED = b'{"error":"not allowed"}\n'


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel saw it at connect(2)."""

    uid: int
    groups: frozenset[int]


@dataclass(slots=True)
class ServerCounters:
    """What the socket did; the field names are the counters' names."""

    answered: int = 0
    refused: int = 0
    cut: int = 0
    deferred: int = 0


def credentials(connection: socket.socket) -> Peer:
    """Uid and groups of the process that connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, gid = struct.unpack("iII", raw)
    try:
        # Python's limit is 1,024 bytes: of somebody in more than 256 groups only the first counts.
        more = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError:
        more = b""
    return Peer(uid, frozenset((gid, *struct.unpack(f"{len(more) // 4}I", more))))


def allowed(peer: Peer, group: int) -> bool:
    """Root and members of `group`. A peer whose groups a user namespace hides passed the file
    mode, which the kernel checked with the true ids."""
    return peer.uid == 0 or group in peer.groups or OVERFLOW_ID in peer.groups


class StatusServer:
    """Answers on a listening Unix socket that somebody else bound.

    `provide` makes the answer; it is asked at most four times a second. `now` is in seconds of
    a clock that never goes back. While wants() is false, leave fileno() out of the poll set:
    that is how a storm of connections is made to wait in the socket's backlog.
    """

    def __init__(self, listening: socket.socket, group: int, provide: Callable[[], bytes]) -> None:
        listening.setblocking(False)
        self.counters = ServerCounters()
        self._listening = listening
        self._group = group
        self._provide = provide
        self._tokens = float(BURST)
        self._filled = 0.0
        self._answer = b""
        self._made = float("-inf")

    def fileno(self) -> int:
        """The listening descriptor: readable when a connection waits."""
        return self._listening.fileno()

    def wants(self, now: float) -> bool:
        """Whether handle(now) would take a connection."""
        self._refill(now)
        return self._tokens >= 1

    def handle(self, now: float) -> None:
        """Answer what waits, BATCH connections at most; never blocks, never raises OSError."""
        for _ in range(BATCH):
            if not self.wants(now):
                self.counters.deferred += 1
                return
            try:
                connection, _ = self._listening.accept()
            except OSError:  # nobody waits, or the peer has gone, or no descriptor is free
                return
            self._tokens -= 1
            with connection:
                self._serve(connection, now)

    def _serve(self, connection: socket.socket, now: float) -> None:
        try:
            connection.setblocking(False)
            if allowed(credentials(connection), self._group):
                self.counters.answered += 1
                self._send(connection, self._fresh(now))
            else:
                self.counters.refused += 1
                self._send(connection, NOT_ALLOWED)
        except OSError:
            self.counters.cut += 1

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if connection.send(data) < len(data):
            self.counters.cut += 1

    def _fresh(self, now: float) -> bytes:
        if now - self._made >= CACHE_SECONDS:
            self._answer, self._made = self._provide(), now
        return self._answer

    def _refill(self, now: float) -> None:
        self._tokens = min(BURST, self._tokens + max(0.0, now - self._filled) * PER_SECOND)
        self._filled = now
