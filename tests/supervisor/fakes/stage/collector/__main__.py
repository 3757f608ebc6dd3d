# SPDX-License-Identifier: Apache-2.0
"""Stands for the four roles: each behaves as the real one does towards its supervisor."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

NAMES = dict(zip(os.environ.get("LISTEN_FDNAMES", "").split(":"), range(3, 99), strict=False))


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def setting(name: str) -> str:
    lines = Path(option("--config")).read_text().splitlines()
    return next(line.split(": ", 1)[1] for line in lines if line.startswith(name + ": "))


def collect() -> None:
    """Answers the status, asks both ELF workers, writes a window when told to stop."""
    spool = Path(setting("spool_dir"))
    number = len(list(spool.iterdir())) + 1
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    if setting("frequency") == "77" and number == 1:
        (spool / f"{number:020d}.window").write_text("before the crash")
        os.kill(os.getpid(), signal.SIGKILL)
    for name in ("elf", "tables"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(setting(f"{name}_socket"))
            worker = client.recv(100).decode()
        print(f"the worker is {worker}")
    listener = socket.socket(fileno=NAMES["status"])
    listener.settimeout(0.05)
    while not stopped:
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            continue
        peer.sendall(json.dumps({"samples": {"total": 3412}}).encode())
        peer.close()
    if setting("frequency") == "78" and number == 1:
        (spool / f"{number:020d}.window").write_text("amid the end")
        os.kill(os.getpid(), signal.SIGKILL)
    (spool / f"{number:020d}.window").write_text("the last")


def elf() -> None:
    name = sys.argv[-1]
    peer, _ = socket.socket(fileno=NAMES[name]).accept()
    peer.sendall(f"{name} with uid {os.getuid()}".encode())


def ship() -> None:
    assert Path(setting("spool_dir")).is_dir()
    time.sleep(600)


def report() -> None:
    """Writes down what it was handed."""
    after = option("--after") if "--after" in sys.argv else ""
    windows = sorted(path for path in Path(option("--spool")).iterdir() if path.name > after)
    os.lseek(NAMES["status"], 0, os.SEEK_SET)
    for name in ("profile", "collapsed", "flamegraph"):
        os.write(NAMES[name], name.encode())
    summary = {
        "windows": [path.read_text() for path in windows],
        "status": json.loads(os.read(NAMES["status"], 4096)),
        "uid": os.getuid(),
    }
    os.write(NAMES["summary"], json.dumps(summary).encode())


{"collect": collect, "elf": elf, "ship": ship, "report": report}[sys.argv[1]]()
