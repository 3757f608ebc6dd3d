# SPDX-License-Identifier: Apache-2.0
"""Stands for the loader: checks what it was given, writes its report, may be told to refuse."""

import os
import sys
from pathlib import Path

assert sys.argv[1] == "--config"
conf = dict(line.split(" = ") for line in Path(sys.argv[2]).read_text().splitlines())
if conf["frequency"] == "66":
    print("This kernel is not good enough. Use another one.\x1b[31m", file=sys.stderr)
    sys.exit(2)
if conf["frequency"] == "67":
    print("load failed", file=sys.stderr)
    sys.exit(1)
pins = Path(conf["pins_directory"])
assert os.getgroups() == [int(conf["pins_group"])]
assert pins.stat().st_gid == int(conf["pins_group"])
(pins / "gen-1").mkdir()
Path(conf["report"]).write_text("{}")
