# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading

import pytest

STRANGER = 61_234  # a uid nobody has

# Sheds what it has after its imports: the checkout may lie where no stranger can read.
CLOSED = f"""
import ctypes, os, pyseccomp, sys
libc = ctypes.CDLL(None)
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
os.setgroups([]); os.setresgid({STRANGER}, {STRANGER}, {STRANGER})
os.setresuid({STRANGER}, {STRANGER}, {STRANGER})
pyseccomp.SyscallFilter(pyseccomp.ALLOW).load()
print("ready", flush=True)
sys.stdin.read()
"""
OPEN = """
import ctypes, sys, threading
libc = ctypes.CDLL(None)
started = threading.Event()
thread = threading.Thread(target=lambda: (started.set(), done.wait()))
done = threading.Event()
thread.start(); started.wait()
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which holds for this thread alone
open("/proc/self/comm", "wb").write(b"a\\nUid:\\t0\\x1b[m")
print("ready", flush=True)
sys.stdin.read(); done.set()
"""


@contextlib.contextmanager
def running(command):
    """The pid of a program that says ready; it ends with its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.stdin.close()


@pytest.fixture
def closed_process():
    """A process as the agent's should be: own uid, no capability, no_new_privs, a filter."""
    with running([sys.executable, "-c", CLOSED]) as pid:
        yield pid


@pytest.fixture
def open_process():
    """A process that kept its bounding set, and one of whose threads may gain privileges."""
    who = [f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    with running(["setpriv", *who, "/usr/bin/python3", "-c", OPEN]) as pid:
        yield pid


@pytest.fixture
def serve(tmp_path):
    """Start a Unix socket that treats each connection with a function; the result is its path."""
    with contextlib.ExitStack() as stack:

        def start(treat):
            path = str(tmp_path / "status.sock")
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(path)
            listening.listen()

            def loop():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listening.accept()
                        with connection, contextlib.suppress(OSError):
                            treat(connection)

            thread = threading.Thread(target=loop)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return path

        yield start
