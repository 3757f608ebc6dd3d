# SPDX-License-Identifier: Apache-2.0
"""The loop of the ELF worker: one connection at a time, one request after the other."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from collector.worker import limits
from collector.worker.answer import Answerer
from collector.worker.wire import HEADER_SIZE, WireError, body_size, decode, encode

_MAX_DESCRIPTORS = 4
"""Room for more than the one that is right, so that the others can be closed."""


class Worker:
    """Serves a listening socket until it is idle or worn out."""

    def __init__(self, listener: socket.socket, wear: limits.Wear) -> None:
        self._listener = listener
        self._wear = wear
        self._answerer = Answerer()

    def run(self) -> None:
        """Returns when there was no work for IDLE_SECONDS, or to make room for a fresh worker."""
        while _readable(self._listener) and self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Accept and serve one connection to its end; False when this worker should end."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return True  # the client gave up between poll and accept
        with connection:
            # A client that stops within a message is ended by the request's deadline.
            connection.setblocking(True)
            while _readable(connection):
                try:
                    if not self._one_request(connection):
                        return True
                except (WireError, OSError):
                    return True
                if self._wear.worn_out():
                    return False
        return False

    def _one_request(self, connection: socket.socket) -> bool:
        """False at the end of the connection."""
        limits.start_deadline(limits.REQUEST_SECONDS)
        try:
            first, descriptors, _, _ = socket.recv_fds(
                connection, HEADER_SIZE, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            with contextlib.ExitStack() as stack:
                for fd in descriptors:
                    stack.callback(os.close, fd)
                if not first:
                    return False
                if len(descriptors) != 1:
                    raise WireError(f"{len(descriptors)} descriptors")
                header = first + receive(connection, HEADER_SIZE - len(first))
                request = decode(receive(connection, body_size(header)))
                if request.get("op") == "unwind":
                    limits.start_deadline(limits.TABLE_SECONDS)
                answer = self._answerer.answer(request, descriptors[0])
            for piece in (encode(answer.message), *answer.pieces):
                connection.sendall(piece)
            return True
        finally:
            limits.stop_deadline()


def _readable(sock: socket.socket) -> bool:
    """Whether something came within the idle time."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(limits.IDLE_SECONDS * 1000))


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises WireError at an early end."""
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise WireError("the connection ended within a message")
        data += chunk
    return bytes(data)
