# SPDX-License-Identifier: Apache-2.0
"""Listening sockets that outlive the processes behind them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 16


def listen(path: Path, uid: int, gid: int, mode: int) -> socket.socket:
    """A listening Unix stream socket; nobody can connect before owner and mode are set."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    os.chown(path, uid, gid)
    path.chmod(mode)
    listener.listen(BACKLOG)
    return listener


def is_served(path: Path) -> bool:
    """Whether somebody listens there: a socket left by a killed process refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return True  # a full backlog has a listener
        except OSError:
            return False
        return True
