# SPDX-License-Identifier: Apache-2.0
"""A kernel that is too old is told by what its BTF names, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader import probe
from loader.errors import Refusal


def test_btf_that_names_the_symbol_iterator_passes(tmp_path: Path) -> None:
    btf = tmp_path / "vmlinux"
    btf.write_bytes(b"\x9f\xeb\1\0" + b"\0bpf_iter_task\0bpf_iter_ksym\0tail\0")
    probe.require_symbol_iterator(str(btf))


def test_btf_without_it_is_refused_with_the_kernel_that_is_needed(tmp_path: Path) -> None:
    btf = tmp_path / "vmlinux"
    # linux 5.10 names tasks; a longer name must not pass for the one that is missing
    btf.write_bytes(b"\x9f\xeb\1\0" + b"\0bpf_iter_task\0bpf_iter_ksym_seq_info\0")
    with pytest.raises(Refusal, match=r"no BPF iterator over its symbols; .*6\.1 or newer"):
        probe.require_symbol_iterator(str(btf))


@pytest.mark.root
def test_this_kernel_passes() -> None:
    probe.check_kernel(ignore_unsafe=False)
