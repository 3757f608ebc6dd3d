# SPDX-License-Identifier: Apache-2.0
"""Servers with somebody who asks them, both private to the benchmark."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.real.load import Load, prepare, working

WAIT_SECONDS = 20.0
SCALE = 5
LONG = "3600"
PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
WWW = "www-data"


def _postgres_tools() -> str:
    """Debian keeps them out of PATH, by version; the newest."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[4]))
    return str(found[-1]) if found else "/usr/lib/postgresql"


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[None]:
    tools, data = _postgres_tools(), directory / "data"
    shutil.chown(directory, "postgres", "postgres")
    as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
    prepare(*as_user, f"{tools}/initdb", "-A", "trust", "-D", data, cwd=directory)
    settings = ("-c", "listen_addresses=", "-c", "fsync=off", "-k", str(directory))
    server = (*as_user, f"{tools}/postgres", "-D", data, *settings)
    client = (*as_user, f"{tools}/pgbench", "-h", directory)
    with working(*server, stop=signal.SIGQUIT, cwd=directory):
        _wait((directory / ".s.PGSQL.5432").exists)
        time.sleep(1)
        prepare(*client, "-i", "-q", "-s", str(SCALE), "postgres", cwd=directory)
        mixed = ("-b", "tpcb-like@1", "-b", "select-only@3")
        with working(*client, *mixed, "-c", "4", "-T", LONG, "postgres", cwd=directory):
            yield


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[None]:
    at = directory / "socket"
    server = ("redis-server", "--port", "0", "--unixsocket", at, "--save", "", "--dir", directory)
    tests = "set,get,incr,lpush,lrange_100,sadd,hset,zadd,mset"
    with working(*server):
        _wait(at.exists)
        with working("redis-benchmark", "-s", at, "-l", "-q", "-c", "20", "-P", "4", "-t", tests):
            yield


@contextlib.contextmanager
def nginx(directory: Path) -> Iterator[None]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (directory / "index.html").write_text("<p>some text, some more text</p>\n" * 500)
    configuration = directory / "nginx.conf"
    paths = "".join(f"{name}_temp_path {directory}/{name};" for name in PATHS)
    configuration.write_text(
        f"daemon off; user {WWW}; worker_processes 1; pid {directory}/pid;"
        f"error_log {directory}/errors; events {{ worker_connections 256; }}"
        f"http {{ access_log {directory}/log; gzip on; {paths}"
        f"server {{ listen 127.0.0.1:{port}; root {directory}; }} }}"
    )
    ask = ("wrk", "-t1", "-c16", "-d", LONG, "-H", "Accept-Encoding: gzip")
    with working("nginx", "-p", directory, "-c", configuration, stop=signal.SIGTERM):
        _wait(lambda: _answers(port))
        with working(*ask, f"http://127.0.0.1:{port}/"):
            yield


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _wait(ready: Callable[[], bool]) -> None:
    """Until it is there; the absence of samples tells if it never comes."""
    end = time.monotonic() + WAIT_SECONDS
    while not ready() and time.monotonic() < end:
        time.sleep(0.1)


LOADS = (
    Load("PostgreSQL", postgres, frozenset({"postgres"}), (_postgres_tools(), "pgbench")),
    Load("redis", redis, frozenset({"redis-server"}), ("redis-server", "redis-benchmark")),
    Load("nginx", nginx, frozenset({"nginx"}), ("nginx", "wrk")),
)
