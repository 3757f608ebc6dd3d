# SPDX-License-Identifier: Apache-2.0
"""Relative links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links(page):
    for target in re.findall(r"(?<!!)\[[^\]]+\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_decisions_are_listed():
    directory = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d\d-[\w-]+\.md)\)", (directory / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in directory.glob("[0-9]*.md"))
    for number, name in enumerate(listed, 1):
        text = (directory / name).read_text()
        assert text.startswith(f"# {number}. ")
        assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [
            "Context",
            "Choice",
            "Consequences",
        ]
