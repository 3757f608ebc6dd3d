# SPDX-License-Identifier: Apache-2.0
"""One exception type: call, object, errno, and libbpf's own log when a load fails."""

from __future__ import annotations

import errno
import re

import pytest

from libbpf import iterators
from libbpf.errors import BpfError
from libbpf.maps import Map
from libbpf.objects import BpfObject
from loader import probe

KERNEL_ADDRESS = re.compile(r"(?:0x)?ffff[0-9a-f]{12}")


def refused():
    """The verifier's refusal of a sampler whose counters are a map of 8 bytes."""
    small = BpfObject("bootstrap")
    sampler = BpfObject("sampler")
    try:
        small.load()
        sampler.share_maps({"counters": small.map_fds()["host"]})
        sampler.load()
    except BpfError as error:
        return error
    finally:
        small.close()
        sampler.close()
    return pytest.fail("the kernel took it")


@pytest.mark.root
def test_a_failed_load_carries_the_verifiers_log():
    error = refused()
    assert (error.call, error.subject) == ("BPF_PROG_LOAD", "sampler")
    assert error.errno in (errno.EACCES, errno.EINVAL)
    assert "invalid access to map value" in error.log
    assert "processed" in error.log
    text = str(error)
    assert text.startswith(f"BPF_PROG_LOAD sampler: {error.strerror} (errno {error.errno}); ")
    assert len(text.splitlines()) == 1


@pytest.mark.root
def test_sec_35_what_the_loader_prints_of_it_names_no_kernel_address():
    error = refused()
    for shown in (str(error), str(probe.explain_load(error))):
        assert not KERNEL_ADDRESS.search(shown)


@pytest.mark.root
def test_the_log_of_one_failure_is_not_that_of_the_next():
    refused()
    with pytest.raises(BpfError) as caught:
        Map.open_pin("/run/no-such-pin")
    assert (caught.value.call, caught.value.errno) == ("BPF_OBJ_GET", errno.ENOENT)
    assert caught.value.log == ""
    assert str(caught.value) == "BPF_OBJ_GET /run/no-such-pin: No such file or directory (errno 2)"


def test_a_descriptor_that_is_no_program_is_named():
    with pytest.raises(BpfError) as caught:
        iterators.read(-1, "task")
    assert caught.value.call == "BPF_ITER_CREATE"
    assert "task" in str(caught.value)


def test_an_object_that_is_not_built_in_is_refused():
    with pytest.raises(BpfError, match="bpf_object__open nothing"):
        BpfObject("nothing")
