# SPDX-License-Identifier: Apache-2.0
"""A window is either kept or counted as refused, never both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.spool.errors import SpoolError
from collector.spool.format import Header
from collector.spool.reader import SpoolReader
from collector.spool.writer import Spool

HEADER = Header(1, 2, 3, 4, 5)


def open_spool(path: Path) -> Spool:
    return Spool(path, max_bytes=1 << 20, max_age_seconds=3600, min_free_bytes=0)


def fail_on(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of a directory fails from now on, as a failing disk may do it."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_mode & 0o170000 == kind:
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_window_that_may_not_be_durable_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path)
    spool.write(HEADER, b"first")
    with monkeypatch.context() as failing:
        fail_on(0o040000, failing)
        with pytest.raises(SpoolError):
            spool.write(HEADER, b"second")
    assert spool.counters.refused_error == 1
    assert SpoolReader(tmp_path).names() == ["00000000000000000001.window"]
    assert open_spool(tmp_path).windows == 1


def test_a_window_stays_written_when_the_eviction_after_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path)
    real = Spool.evict

    def evict(self: Spool, wanted: int = 0) -> None:
        real(self, wanted)
        if not wanted:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "evict", evict)
    spool.write(HEADER, b"first")
    assert spool.counters.written_samples == 5
    assert spool.counters.refused_error == 0
    assert spool.last_header == HEADER
