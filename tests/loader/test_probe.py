# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from loader import probe
from loader.errors import Refusal


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("5.18.19", False),
        ("5.19.0-rc1", True),
        ("5.19", True),
        ("6.0.19-generic", True),
        ("6.0+", True),
        ("6.1.0-13-amd64", False),
        ("6.18.44", False),
        ("5.2", False),
        ("60.1", False),
        ("10.0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_kernels_that_lock_up_are_told_by_their_number(release, expected):
    assert probe.locks_up(release) is expected


def test_a_kernel_without_the_symbol_iterator_is_refused(tmp_path):
    btf = tmp_path / "vmlinux"
    btf.write_bytes(b"\x9f\xeb\0bpf_iter_task\0")
    with pytest.raises(Refusal, match=r"needs linux 6\.1"):
        probe.require_symbol_iterator(str(btf))
    btf.write_bytes(btf.read_bytes() + b"bpf_iter_ksym\0")
    probe.require_symbol_iterator(str(btf))


def test_every_online_cpu_is_found():
    cpus = probe.online_cpus()
    assert cpus == sorted(set(cpus))
    assert cpus
