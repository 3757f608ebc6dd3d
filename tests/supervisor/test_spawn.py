# SPDX-License-Identifier: Apache-2.0
"""What a started process is, read from the kernel while it lives."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import oneshot, spawn

pytestmark = pytest.mark.root

NOBODY = 65534
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
PYTHON = "/usr/bin/python3"


def fields(output: bytes) -> dict[str, str]:
    lines = (line.split(":", 1) for line in output.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, value in lines}


def status(privileges: tuple[str, ...]) -> dict[str, str]:
    code, output = oneshot.run(privileges, ("/bin/cat", "/proc/self/status"), 10)
    assert code == 0, output
    return fields(output)


def test_an_unprivileged_process_has_nothing_and_can_get_nothing() -> None:
    shown = status(spawn.unprivileged(NOBODY, NOBODY, [4242, 4243]))
    assert {name: int(shown[name], 16) for name in SETS} == dict.fromkeys(SETS, 0)
    assert shown["NoNewPrivs"] == "1"
    assert shown["Uid"].split() == [str(NOBODY)] * 4
    assert shown["Gid"].split() == [str(NOBODY)] * 4
    assert shown["Groups"].split() == ["4242", "4243"]


def test_a_process_without_groups_has_none() -> None:
    assert status(spawn.unprivileged(NOBODY, NOBODY))["Groups"] == ""


def test_the_loader_is_root_with_three_capabilities_at_most() -> None:
    shown = status(spawn.loader(4242))
    three = 1 << 39 | 1 << 38 | 1 << 21
    assert int(shown["CapBnd"], 16) == three
    assert int(shown["CapEff"], 16) == three
    assert int(shown["CapInh"], 16) == int(shown["CapAmb"], 16) == 0
    assert shown["Uid"].split() == ["0"] * 4
    assert shown["Groups"].split() == ["4242"]


SHOW = """
import os, resource, socket
print(os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"])
print(int(os.environ["LISTEN_PID"]) == os.getpid())
print([fd for fd in range(100) if os.path.exists(f"/proc/self/fd/{fd}")])
print(os.read(3, 10), socket.socket(fileno=4).getsockname())
print(os.getsid(0) == os.getpid(), os.getcwd(), sorted(os.environ))
print(resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_descriptors_arrive_in_order_by_name_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    reader, writer = os.pipe()
    os.write(writer, b"hello")
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        # The numbers are the other way round than the order asked for.
        descriptors = sorted([(reader, "pipe"), (listener.fileno(), "socket")], key=lambda x: x[1])
        code, output = oneshot.run(
            spawn.unprivileged(NOBODY, NOBODY), (PYTHON, "-I", "-S", "-c", SHOW), 10, descriptors
        )
    for descriptor in (reader, writer, extra):
        os.close(descriptor)
    lines = output.decode().splitlines()
    assert code == 0, output
    assert lines[0] == "2 pipe:socket"
    assert lines[1] == "True"
    assert lines[2] == "[0, 1, 2, 3, 4]"
    assert lines[3] == f"b'hello' {path}"
    assert lines[4] == "True / ['LANG', 'LISTEN_FDNAMES', 'LISTEN_FDS', 'LISTEN_PID', 'PATH']"
    assert lines[5] == "(0, 0)"


def test_a_command_that_is_not_there_says_so() -> None:
    code, output = oneshot.run(spawn.unprivileged(NOBODY, NOBODY), ("/nonexistent",), 10)
    assert code == 127
    assert b"/nonexistent" in output


def test_a_process_that_does_not_end_is_killed_at_the_deadline() -> None:
    code, output = oneshot.run(
        spawn.unprivileged(NOBODY, NOBODY), ("/bin/sh", "-c", "echo begun; sleep 60"), 0.5
    )
    assert (code, output) == (-9, b"begun\n")


def test_what_a_process_prints_is_cut() -> None:
    code, output = oneshot.run(
        spawn.unprivileged(NOBODY, NOBODY), ("/usr/bin/head", "-c", "300000", "/dev/zero"), 10
    )
    assert (code, len(output)) == (0, oneshot.OUTPUT_BYTES)


PARENT = """
import os, sys
from supervisor import spawn
child = spawn.start(spawn.unprivileged(65534, 65534), ("/bin/sleep", "60"), 1)
while not open(f"/proc/{child.pid}/comm").read().startswith("sleep"):
    pass
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_supervisor_takes_its_processes_along() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, timeout=30, check=False
    )
    assert done.returncode == -9
    pid = int(done.stdout)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it is gone already
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(10_000), "the process outlived its supervisor"
    os.close(pidfd)
