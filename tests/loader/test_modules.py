# SPDX-License-Identifier: Apache-2.0
"""What runs as root is a known list of modules: golden, one for each minor version of Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loader import modules

GOLDEN = sorted(Path(__file__).parent.glob("modules-3.*.txt"))
FORBIDDEN = {
    *("collector", "ctl", "supervisor", "elftools", "google", "grpc", "yaml", "pyseccomp"),
    *("http", "urllib", "ssl", "socket", "pickle", "multiprocessing", "subprocess", "ctypes"),
}
OURS = {"loader", "libbpf"}
THIRD_PARTIES = {"_cffi_backend", "prctl", "_prctl"}


def lines(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.root
def test_the_loader_imports_what_the_list_says(stand):
    path = Path(__file__).parent / f"modules-{modules.interpreter()}.txt"
    assert path.exists(), (
        f"no list for this Python; as root: {modules.PYTHON.name} -m tests.loader.modules > {path}"
    )
    assert modules.imported(stand) == lines(path)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_no_list_holds_what_root_must_not_import(path):
    names = {line.split(".")[0] for line in lines(path)}
    assert names & FORBIDDEN == set()
    assert names >= OURS | THIRD_PARTIES


def test_there_is_a_list_for_each_supported_distribution():
    assert {path.stem for path in GOLDEN} >= {"modules-3.11", "modules-3.13"}
