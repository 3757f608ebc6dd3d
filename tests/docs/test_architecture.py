# SPDX-License-Identifier: Apache-2.0
"""The page's table of maps is the loader's table of pins, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MODES = {"READ_WRITE": "0660", "READ_ONLY": "0440"}


def described():
    """Map to the mode of its pin, `none` without one."""
    table = PAGE.partition("| Map | Holds |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| (0\d+|none) \|", table, re.MULTILINE)
    return {name: mode for names, mode in rows for name in re.findall(r"`(\w+)`", names)}


def test_pins_and_modes():
    source = (ROOT / "loader" / "pin.py").read_text()
    pinned = dict(re.findall(r'^    "(\w+)": (READ_\w+),', source, re.MULTILINE))
    assert {name: MODES[mode] for name, mode in pinned.items()} == {
        name: mode for name, mode in described().items() if mode != "none"
    }


def test_every_declared_map_is_described():
    source = (ROOT / "bpf" / "maps.h").read_text()
    lines = [line for line in source.splitlines() if '.maps"' in line]
    declared = {name for line in lines for name in re.findall(r'(\w+) SEC\("\.maps"\)', line)}
    assert declared == set(described())


def test_every_path_of_the_repository_exists():
    for path in re.findall(r"`((?:bpf|collector|loader|libbpf|docs)/[\w/.]*)`", PAGE):
        assert (ROOT / path).exists(), path
