# SPDX-License-Identifier: Apache-2.0
"""`python -m supervisor run`: parse arguments, run, choose the exit status.

0: the four files are there. 1: something broke. 2: refused, and nothing was left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from collector.config import ConfigError
from supervisor.errors import FailureError, RefusalError
from supervisor.run import Options, run
from supervisor.terminal import Terminal


def main(arguments: list[str]) -> int:
    """Run the agent in the foreground; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    options = Options(
        stage=chosen.stage.resolve(),
        out=chosen.out.absolute(),
        duration=chosen.duration,
        frequency=chosen.hz,
        config=chosen.config,
    )
    try:
        paths = run(options, Terminal(sys.stdout))
    except (RefusalError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 2
    except FailureError as error:
        print(error, file=sys.stderr)
        return 1
    print(*paths, sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="supervisor", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser("run", help="profile this machine")
    command.add_argument("--stage", type=Path, required=True, help="directory of the built agent")
    command.add_argument("--out", type=Path, default=Path("out"), help="where the files go")
    command.add_argument("--duration", type=_seconds, help="seconds; until Ctrl-C if not given")
    command.add_argument("--hz", type=_frequency, help="samples per second and CPU")
    command.add_argument("--config", type=Path, help="settings of the agent (YAML)")
    return parser


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 366 * 86_400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _frequency(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= 100_000:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100000")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
