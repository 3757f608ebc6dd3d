# SPDX-License-Identifier: Apache-2.0
"""The manual page says what the program does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ctl import main as ctl
from ctl.client import SOCKET

PAGE = Path(__file__).parents[2] / "docs" / "man" / "parca-agent-ctl.8"
TEXT = PAGE.read_text().replace("\\-", "-")


def test_every_option_is_described():
    usage = ctl.parser().parse_args(["status"])
    for option in vars(usage).keys() - {"command"}:
        assert re.search(rf"^\.BI? --{option}\b", TEXT, re.MULTILINE), option
    assert SOCKET in TEXT


def test_every_exit_status_is_described():
    codes = [value for name, value in vars(ctl).items() if name.startswith("EXIT_")]
    assert sorted(codes) == [int(code) for code in re.findall(r"\n\.TP\n\.B (\d)\n", TEXT)]


def test_the_page_is_well_formed():
    groff = shutil.which("groff")
    if not groff:
        pytest.skip("groff is not installed; it checks the manual page")
    result = subprocess.run(
        [groff, "-man", "-Tascii", "-ww", "-z", PAGE], capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")
