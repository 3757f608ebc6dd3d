# SPDX-License-Identifier: Apache-2.0
"""Which modules the loader has imported when it ends; `python -m tests.loader.modules` as root
prints them, for tests/loader/modules-3.N.txt."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from supervisor.preflight import PYTHON
from tests.loader.stand import SETPRIV, STAGE, Stand, make

ENDING = "    sys.exit(main(sys.argv[1:]))\n"
INSTEAD = """
    code = main(sys.argv[1:])
    print(*sorted(sys.modules), sep="\\n")
    sys.exit(code)
"""


def imported(stand: Stand) -> list[str]:
    """sys.modules at the end of a successful run of the staged loader."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "loader"
        # without compiled code, which would be taken unchecked instead of the changed source
        shutil.copytree(STAGE / "loader", copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / "__main__.py").read_text()
        if not text.endswith(ENDING):
            raise ValueError("the loader's __main__.py does not end as expected")
        (copy / "__main__.py").write_text(text.removesuffix(ENDING) + INSTEAD)
        command = stand.command()
        place = command.index(str(stand.layout.lib / "loader"))
        command[place] = str(copy)
        ended = stand.load(command=[SETPRIV, *command[1:]])
    if ended.code:
        raise ValueError(ended.output)
    return ended.output.splitlines()


def interpreter() -> str:
    """The minor version of the interpreter that runs the loader, such as 3.11."""
    return Path(PYTHON).resolve().name.removeprefix("python")


if __name__ == "__main__":
    with make() as made:
        print(*imported(made), sep="\n")
