# SPDX-License-Identifier: Apache-2.0
"""bpf/abi.h as clang laid it out for the kernel and as cffi laid it out for Python."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from collector.model import MappingFlag, StackEnd
from libbpf import abi
from libbpf._libbpf import lib
from tests.libbpf.btf import Btf

ROOT = Path(__file__).parents[2]
OBJECTS = sorted((ROOT / "build/bpf").glob("*.bpf.o"))
HEADER = (ROOT / "bpf/abi.h").read_text()
BTF = {path.name: Btf.of(path) for path in OBJECTS}


def test_every_struct_of_the_header_is_compared():
    assert set(re.findall(r"^struct (\w+) \{", HEADER, re.MULTILINE)) == set(abi.SHARED_STRUCTS)


@pytest.mark.parametrize("name", abi.SHARED_STRUCTS)
def test_kernel_and_user_space_agree_on_the_layout(name):
    seen = 0
    for path, btf in BTF.items():
        found = btf.structs().get(name)
        if found is None:
            continue
        seen += 1
        assert (found.size, btf.fields(found)) == (abi.size_of(name), abi.fields(name)), path
    assert seen, f"no object's BTF knows struct {name}"


@pytest.mark.parametrize("name", abi.SHARED_STRUCTS)
def test_no_padding_that_could_carry_what_was_in_memory_before(name):
    end = 0
    for field, (offset, size) in abi.fields(name).items():
        assert offset == end, f"padding before {field}"
        end = offset + size
    assert end == abi.size_of(name)


def test_outcomes_come_first_and_are_told_by_their_names():
    names = abi.counter_names()
    assert all(name.startswith(("recorded", "skipped_", "lost_")) for name in names[: abi.OUTCOMES])
    rest = names[abi.OUTCOMES :]
    assert not any(name.startswith(("recorded", "skipped_", "lost_")) for name in rest)


@pytest.mark.parametrize(
    ("prefix", "enum_name", "enum"),
    [("STACK_", "enum stack_end", StackEnd), ("MAPPING_", "enum mapping_flag", MappingFlag)],
    ids=["ends", "flags"],
)
def test_the_models_enums_are_the_headers(prefix, enum_name, enum):
    for member in enum:
        assert getattr(lib, prefix + member.name) == member.value
    body = HEADER[HEADER.index(enum_name) :]
    members = re.findall(rf"^\s{prefix}\w+ =", body[: body.index("}")], re.MULTILINE)
    assert len(members) == len(enum)


def test_the_hash_is_the_headers():
    assert abi.sha256() == hashlib.sha256(HEADER.encode()).hexdigest()


def test_the_embedded_objects_are_the_built_ones():
    built = {
        path.name.removesuffix(".bpf.o"): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in OBJECTS
    }
    assert abi.object_hashes() == built
