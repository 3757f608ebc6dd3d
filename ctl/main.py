# SPDX-License-Identifier: Apache-2.0
"""The command line, and the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from collector.status.codec import StatusError, encode
from collector.status.health import DEGRADED, OK
from collector.status.snapshot import SCHEMA
from ctl.client import SOCKET, NotAllowedError, NotRunningError, ask
from ctl.document import Document, Failure, join
from ctl.privileges import judge
from ctl.processes import agent_uids, find
from ctl.table import render

EXIT_OK = 0
EXIT_DEGRADED = 1
EXIT_OTHER = 2
EXIT_NOT_RUNNING = 3
EXIT_NOT_ALLOWED = 4

REMEDY = {
    EXIT_NOT_RUNNING: "Start the agent, or name its socket with --socket.",
    EXIT_NOT_ALLOWED: "Ask as root or as a member of the group parca-agent-status.",
    EXIT_OTHER: "The agent's log says more.",
}


def main(arguments: Sequence[str]) -> int:
    """Print the status; the result is the exit status."""
    options = parser().parse_args(arguments)
    try:
        document = status(options.socket)
    except NotRunningError as error:
        return _fail(EXIT_NOT_RUNNING, "not running", error, options.json)
    except NotAllowedError as error:
        return _fail(EXIT_NOT_ALLOWED, "not allowed", error, options.json)
    except StatusError as error:
        return _fail(EXIT_OTHER, "no status", error, options.json)
    _print(encode(document).decode() if options.json else render(document))
    return {OK: EXIT_OK, DEGRADED: EXIT_DEGRADED}.get(document.health.level, EXIT_OTHER)


def status(socket_path: str, proc: Path = Path("/proc")) -> Document:
    """What the agent says, what /proc says, and the judgement over both."""
    report = ask(socket_path)
    rows = find(proc, agent_uids())
    return join(report, rows, judge(rows))


def parser() -> argparse.ArgumentParser:
    """The options; argparse itself ends with 2 for a command line that is none."""
    result = argparse.ArgumentParser(prog="parca-agent-ctl", allow_abbrev=False)
    commands = result.add_subparsers(dest="command", required=True)
    show = commands.add_parser(
        "status", help="health, counters and the privilege table", allow_abbrev=False
    )
    show.add_argument("--json", action="store_true", help="one JSON object on one line")
    show.add_argument("--socket", default=SOCKET, help="the status socket [%(default)s]")
    return result


def _fail(code: int, kind: str, error: Exception, as_json: bool) -> int:
    if as_json:
        _print(encode(Failure(SCHEMA, kind, str(error))).decode())
    else:
        sys.stderr.write(f"parca-agent-ctl: {error}\n{REMEDY[code]}\n")
    return code


def _print(text: str) -> None:
    """Names may hold characters this terminal's encoding lacks; those are escaped."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def run() -> NoReturn:
    """The entry point of the program."""
    try:
        code = main(sys.argv[1:])
    except BrokenPipeError:
        # Nobody reads any more; the interpreter's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OTHER
    except OSError as error:
        sys.stderr.write(f"parca-agent-ctl: {error}\n")
        code = EXIT_OTHER
    sys.exit(code)
