# SPDX-License-Identifier: Apache-2.0
"""Start one process of the agent with exactly the privileges it is meant to have.

setpriv(1) gives up what has to go before the program's first instruction runs; descriptors are
handed over as sd_listen_fds(3) describes: from 3 on, with LISTEN_FDS, LISTEN_FDNAMES and
LISTEN_PID in the environment.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass

FIRST = 3
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
LOADER_CAPABILITIES = ("bpf", "perfmon", "sys_admin")


@dataclass(frozen=True, slots=True)
class Child:
    """A started process: its pid, and a pidfd that becomes readable when it ends."""

    pid: int
    pidfd: int


def unprivileged(uid: int, gid: int, groups: Sequence[int] = ()) -> tuple[str, ...]:
    """setpriv's arguments for a process that holds no capability and can get none."""
    numbers = ",".join(str(group) for group in groups)
    return (
        f"--reuid={uid}",
        f"--regid={gid}",
        f"--groups={numbers}" if groups else "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
        "--pdeathsig=KILL",
    )


def loader(pins_gid: int) -> tuple[str, ...]:
    """setpriv's arguments for the loader: uid 0 with at most its three capabilities.

    It sets no_new_privs itself; the group lets it give its pins away without CAP_CHOWN.
    """
    bounding = ",".join(f"+{name}" for name in LOADER_CAPABILITIES)
    return (
        f"--groups={pins_gid}",
        f"--bounding-set=-all,{bounding}",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--pdeathsig=KILL",
    )


def start(
    privileges: Sequence[str],
    command: Sequence[str],
    output: int,
    descriptors: Sequence[tuple[int, str]] = (),
) -> Child:
    """Start command; output is its stdout and stderr, descriptors are (fd, name) in order.

    The child leads a session of its own, so that the terminal's Ctrl-C reaches the supervisor
    alone. Only call this in a single-threaded process: it forks.
    """
    setpriv = shutil.which("setpriv", path=ENVIRONMENT["PATH"]) or "/usr/bin/setpriv"
    argv = [setpriv, *privileges, *command]
    pid = os.fork()
    if pid == 0:
        _become(argv, output, descriptors)
    return Child(pid, os.pidfd_open(pid))


def _become(argv: list[str], output: int, descriptors: Sequence[tuple[int, str]]) -> None:
    """In the child: never returns."""
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o027)
        # A core file of a profiler would hold what it read of other processes.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and exec keeps that
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _place(output, [one for one, _ in descriptors])
        os.execve(argv[0], argv, ENVIRONMENT | _listen(descriptors))  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _place(output: int, descriptors: list[int]) -> None:
    """/dev/null as 0, output as 1 and 2, the rest from FIRST on."""
    above = FIRST + len(descriptors)
    # First out of the way: a target number may still be a source.
    sources = [_duplicate(one, above) for one in (output, *descriptors)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(sources[0], 1)
    os.dup2(sources[0], 2)
    for target, source in enumerate(sources[1:], FIRST):
        os.dup2(source, target)
    # Whoever started us may have left descriptors open for our children: make does.
    os.closerange(above, 1 << 20)


def _duplicate(descriptor: int, least: int) -> int:
    """A close-on-exec copy whose number is at least `least`."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)


def _listen(descriptors: Sequence[tuple[int, str]]) -> dict[str, str]:
    if not descriptors:
        return {}
    return {
        "LISTEN_FDS": str(len(descriptors)),
        "LISTEN_FDNAMES": ":".join(name for _, name in descriptors),
        "LISTEN_PID": str(os.getpid()),
    }
