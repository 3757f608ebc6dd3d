# SPDX-License-Identifier: Apache-2.0
"""The shipper process: opens what it needs, closes the door, ships until told to stop."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from collector import sandbox
from collector.config import ConfigError, Destination, ShipConfig, load
from collector.sandbox import roles
from collector.ship.backoff import Backoff
from collector.ship.state import retire_others
from collector.ship.stop import Stop
from collector.spool import files
from collector.spool.errors import SpoolError

# Seconds between looks at the spool, and of the first wait after a failure at the most.
_DEFAULTS = {"--config": "", "--poll-seconds": "1", "--retry-base-seconds": "1"}


def main(argv: list[str]) -> int:
    """`ship --config FILE`. Status 0 when told to stop, 1 on failure, 2 for bad use or config."""
    try:
        options = _options(argv)
        poll, base = float(options["--poll-seconds"]), float(options["--retry-base-seconds"])
        config = load(options["--config"], ShipConfig)
    except (ConfigError, ValueError) as error:
        print(f"parca-agent ship: {error}", file=sys.stderr)
        return 2
    try:
        return _run(config, poll, Backoff(base=base))
    except (SpoolError, sandbox.SandboxError, OSError) as error:
        print(f"parca-agent ship: {error}", file=sys.stderr)
        return 1


def _options(argv: list[str]) -> dict[str, str]:
    """By hand: argparse costs a tenth of the memory of a shipper that has nothing to ship."""
    options = dict(zip(argv[::2], argv[1::2], strict=False))
    if len(argv) % 2 or not options.keys() <= _DEFAULTS.keys() or not options.get("--config"):
        raise ValueError("usage: ship --config FILE [--poll-seconds S] [--retry-base-seconds S]")
    return {**_DEFAULTS, **options}


def _run(config: ShipConfig, poll_seconds: float, backoff: Backoff) -> int:
    stop = Stop()
    stop.on_signals()
    state = files.open_directory(Path(config.state_dir))
    retire_others(Path(config.state_dir), state, [one.name for one in config.destinations])
    if not config.destinations:
        _close_door(config)
        stop.wait()
        return 0
    from collector.ship.fleet import Fleet  # noqa: PLC0415 -- brings grpc, of use from here on

    fleet = Fleet(config, state, stop=stop, poll_seconds=poll_seconds, backoff=backoff)
    _close_door(config)
    status = fleet.run()
    sys.stderr.flush()
    # A request may still be in flight in a thread; the interpreter would wait for it.
    os._exit(status)


# Python imports some modules of its own only when they are needed.
_OWN_CODE = str(Path(__file__).resolve().parents[2])

# The C core of grpc opens it at its first connection and aborts where it cannot.
_RANDOM = "/dev/urandom"


def _close_door(config: ShipConfig) -> None:
    """Before the first thread and the first connection."""
    ports = {int(one.address.rpartition(":")[2]) for one in config.destinations}
    readable = {
        _OWN_CODE,
        _RANDOM,
        *(path for one in config.destinations for path in _readable(one)),
    }
    policy = roles.ship(
        config.spool_dir, config.state_dir, *sorted(readable), tcp_ports=tuple(sorted(ports))
    )
    sandbox.close(policy)


def _readable(destination: Destination) -> set[str]:
    """Directories of its credentials: a rule for the file itself would not survive a new one."""
    paths = (destination.ca_file, destination.bearer_token_file)
    return {str(Path(path).parent) for path in paths if path}
