# SPDX-License-Identifier: Apache-2.0
"""One directory of code, four processes: collect, elf, ship, report.

Each role imports only what it needs, after it is chosen, so that the shipper never loads the
reading half and the ELF worker never loads grpc.
"""

from __future__ import annotations

import sys

ROLES = ("collect", "elf", "ship", "report")


def main(arguments: list[str]) -> int:
    role = arguments[0] if arguments else ""
    if role not in ROLES:
        print(f"usage: collector {'|'.join(ROLES)} …", file=sys.stderr)
        return 2
    if role == "collect":
        from collector.collect.main import main as run
    elif role == "elf":
        from collector.worker.main import main as run
    elif role == "ship":
        from collector.ship.main import main as run
    else:
        from collector.report.main import main as run
    return run(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
