# SPDX-License-Identifier: Apache-2.0
"""The table of attack cases and the suite agree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = re.findall(r"^\| (\d+) \|.*\| (yes)? ?\|$", PAGE, re.MULTILINE)


def in_suite():
    """Numbers of the cases that some test is named after."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = re.findall(r"^ *(?:async )?def test_sec_(\d+)_", path.read_text(), re.MULTILINE)
        found |= {int(number) for number in names}
    return found


def test_cases_are_numbered_once():
    assert [int(number) for number, _ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 45


def test_every_case_said_to_be_tested_is():
    claimed = {int(number) for number, state in ROWS if state}
    assert claimed - in_suite() == set()


def test_every_tested_case_is_in_the_table():
    assert in_suite() <= {int(number) for number, _ in ROWS}


def test_the_mailbox_is_marked_in_one_place_and_none_is_invented():
    assert PAGE.count("to be set by the distributor") == 1
    assert not re.search(r"[\w.+-]+@[\w-]+\.\w+", PAGE)
