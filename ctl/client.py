# SPDX-License-Identifier: Apache-2.0
"""Asking the status socket. What answers runs unprivileged and is treated as hostile."""

from __future__ import annotations

import socket
import time

from collector.status.codec import MAX_BYTES, StatusError, decode
from collector.status.health import DEGRADED, FAILED, OK
from collector.status.server import NOT_ALLOWED
from collector.status.snapshot import Report

SOCKET = "/run/parca-agent/status.sock"
TIMEOUT_SECONDS = 5.0


class NotRunningError(Exception):
    """Nothing listens on the socket."""


class NotAllowedError(Exception):
    """The socket's mode or the agent refuses this user."""


def ask(path: str, timeout: float = TIMEOUT_SECONDS) -> Report:
    """The agent's report within `timeout` seconds.

    Raises NotRunningError, NotAllowedError, or StatusError when there is no answer or a bad one.
    """
    data = _receive(path, timeout)
    if data == NOT_ALLOWED:
        raise NotAllowedError("the agent refused this user")
    if not data:
        raise StatusError("the agent closed the connection without an answer")
    report = decode(Report, data)
    if report.health.level not in (OK, DEGRADED, FAILED):
        raise StatusError("an unknown health level")
    return report


def _receive(path: str, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            return _read(connection, deadline)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"nothing listens on {path}") from None
        except PermissionError:
            raise NotAllowedError(f"no permission to connect to {path}") from None
        except TimeoutError:
            raise StatusError(f"no answer within {timeout:g} s") from None
        except OSError as error:
            raise StatusError(f"{path}: {error.strerror or error}") from None


def _read(connection: socket.socket, deadline: float) -> bytes:
    data = bytearray()
    while len(data) <= MAX_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(65_536)
        if not part:
            break
        data += part
    return bytes(data)
