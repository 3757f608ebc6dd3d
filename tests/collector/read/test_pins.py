# SPDX-License-Identifier: Apache-2.0
"""What is opened is what the loader pins, and nothing pinned is a clear sentence."""

import pytest

from collector.read import pins
from loader import pin


def test_names_and_access_agree_with_the_loader():
    assert set(pins.READ_ONLY_MAPS) == {n for n, mode in pin.MAPS.items() if mode == pin.READ_ONLY}
    assert set(pins.READ_WRITE_MAPS) == {
        n for n, mode in pin.MAPS.items() if mode == pin.READ_WRITE
    }
    assert {*pins.ITERATORS, pins.READ_MEMORY} == set(pin.ITERATORS)


def test_nothing_pinned(tmp_path):
    with pytest.raises(pins.NoGenerationError, match="the loader has not run"):
        pins.open_newest(str(tmp_path))


def test_no_directory(tmp_path):
    with pytest.raises(pins.NoGenerationError, match="No such file"):
        pins.open_newest(str(tmp_path / "bpf"))


def test_an_unfinished_generation_is_not_used(tmp_path):
    (tmp_path / "gen-3-new").mkdir()
    with pytest.raises(pins.NoGenerationError):
        pins.open_newest(str(tmp_path))
