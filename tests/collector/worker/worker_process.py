# SPDX-License-Identifier: Apache-2.0
"""The role `elf` as a process of its own, started as its supervisor starts it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import collector

NOBODY = "65534"
REPOSITORY = Path(collector.__file__).parents[1]

# What stands between socket activation and the role. Modules are imported first, because a
# checkout need not be readable by nobody; the process id is known only inside.
RUN = """
import os, sys
sys.path[:0] = sys.argv[2:]
from collector.worker import limits, main
from collector.sandbox import privileges, seccomp
seccomp.binding()
limits.IDLE_SECONDS = float(os.environ["IDLE"])
limits.REQUEST_SECONDS = float(os.environ["REQUEST"])
limits.TABLE_SECONDS = float(os.environ["TABLE"])
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
for capability in range(64):
    privileges.libc.prctl(24, capability, 0, 0, 0)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(main.main([]))
"""


class Supervised:
    """A listening socket and the worker last started on it."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.workers = []

    def start(self, idle="10", request="10", table="10"):
        environment = {
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "elf",
            "IDLE": idle,
            "REQUEST": request,
            "TABLE": table,
        }
        fd = self.listener.fileno()
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        command = (sys.executable, "-c", RUN, str(fd), str(REPOSITORY), packages)
        worker = subprocess.Popen(
            command, env=environment, pass_fds=(fd,), stderr=subprocess.PIPE, text=True
        )
        self.workers.append(worker)
        return worker

    def close(self):
        self.listener.close()
        while self.workers:
            worker = self.workers.pop()
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            worker.communicate()
