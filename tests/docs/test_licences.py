# SPDX-License-Identifier: Apache-2.0
"""The list of licences is complete, and every file of ours names one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "licences.md").read_text()
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
SUFFIXES = {".py", ".c", ".h", ".proto", ".pyi"}
WITHOUT = {"libbpf/_libbpf.c"}  # as cffi writes it


def installed():
    """Names of all packages that base and extras bring, directly or not."""
    packages = {package["name"]: package for package in LOCK["package"]}
    root = packages["parca-agent"]
    wanted = [*root["dependencies"]]
    for extra in root["optional-dependencies"].values():
        wanted += extra
    found = set()
    while wanted:
        name = wanted.pop()["name"]
        if name not in found:
            found.add(name)
            wanted += packages[name].get("dependencies", [])
    return found


def rows():
    section = PAGE.partition("## Python packages")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", section, re.MULTILINE))


def test_every_package_is_listed_and_no_other():
    assert installed() == set(rows())
    assert rows()["python-prctl"] == "GPL-3.0-or-later"


@pytest.mark.parametrize("name", ["Apache-2.0", "GPL-2.0-only", "BSD-2-Clause"])
def test_the_texts_are_there(name):
    assert len((ROOT / "LICENSES" / f"{name}.txt").read_text()) > 1000


def sources():
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git checkout: nothing says which files are ours")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_every_source_file_names_its_licence():
    for path in sources():
        name = str(path.relative_to(ROOT))
        if path.suffix not in SUFFIXES or name in WITHOUT or not path.exists():
            continue
        wanted = "GPL-2.0-only OR BSD-2-Clause" if name.startswith("bpf/") else "Apache-2.0"
        head = path.read_text()[:300]
        assert f"SPDX-License-Identifier: {wanted}" in head, name
