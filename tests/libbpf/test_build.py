# SPDX-License-Identifier: Apache-2.0
"""What the binding is made of and what it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from libbpf import abi
from libbpf.generate import OUTPUT, builder

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "libbpf/_libbpf.abi3.so"
FETCH = ROOT / "libbpf/upstream/fetch"
MODULES = [
    MODULE,
    *(ROOT / f"build/stage/{half}/libbpf/{MODULE.name}" for half in ("loader", "collector")),
]
ALLOWED = {"libelf.so.1", "libz.so.1", "libc.so.6", "libpthread.so.0"}


def readelf(*arguments):
    done = subprocess.run(["readelf", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_committed_c_is_what_the_generator_writes(tmp_path):
    builder().emit_c_code(str(tmp_path / "made.c"))
    assert (tmp_path / "made.c").read_bytes() == OUTPUT.read_bytes(), "run: make generate"


@pytest.mark.parametrize("module", MODULES, ids=["tree", "loader", "collector"])
def test_it_needs_libelf_libz_and_libc_only(module):
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("-d", module)))
    assert needed <= ALLOWED
    assert {"libelf.so.1", "libz.so.1", "libc.so.6"} <= needed


def test_nothing_of_libbpf_is_visible_outside():
    lines = readelf("--dyn-syms", "--wide", MODULE).splitlines()
    defined = [line.split() for line in lines if re.search(r"GLOBAL|WEAK", line)]
    exported = {fields[7] for fields in defined if fields[6] != "UND"}
    assert exported == {"PyInit__libbpf"}


def test_it_is_bound_at_start_and_read_only_after():
    assert "BIND_NOW" in readelf("-d", MODULE)
    assert "GNU_RELRO" in readelf("-lW", MODULE)
    assert not re.search(r"GNU_STACK.* RWE", readelf("-lW", MODULE))


def pinned():
    text = (ROOT / "libbpf/upstream/version.env").read_text()
    return dict(re.findall(r"^(\w+)=(\S+)$", text, re.MULTILINE))


def test_the_linked_libbpf_is_the_pinned_one():
    assert abi.libbpf_version() == "v" + pinned()["LIBBPF_VERSION"].removesuffix(".0")
    assert re.fullmatch(r"[0-9a-f]{64}", pinned()["LIBBPF_SHA256"])


def fetch(source, out):
    return subprocess.run(
        [FETCH, out],
        env=os.environ | {"LIBBPF_SOURCE": str(source)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_source_with_another_hash_stops_the_build(tmp_path):
    source = tmp_path / "libbpf.tar.gz"
    source.write_bytes(b"something else")
    done = fetch(source, tmp_path / "out.tar.gz")
    assert done.returncode != 0
    assert "SHA-256 differs" in done.stderr
    assert not (tmp_path / "out.tar.gz").exists()


def test_a_download_with_another_hash_is_not_used_again(tmp_path):
    out = tmp_path / "out.tar.gz"
    out.write_bytes(b"half a file")
    environment = {key: value for key, value in os.environ.items() if key != "LIBBPF_SOURCE"}
    done = subprocess.run(
        [FETCH, out], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "SHA-256 differs" in done.stderr


def test_the_right_source_is_taken_from_a_path(tmp_path):
    source = ROOT / "build/libbpf/source.tar.gz"
    assert fetch(source, tmp_path / "out.tar.gz").returncode == 0
    assert (tmp_path / "out.tar.gz").read_bytes() == source.read_bytes()
    assert fetch(tmp_path / "none", tmp_path / "x").returncode != 0
