# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.errors import RefusalError
from supervisor.outputs import NAMES, Outputs


def test_four_files_appear_together(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "out")
    for descriptor, name in outputs.descriptors:
        os.write(descriptor, name.encode())
    assert not any((tmp_path / "out" / name).exists() for name in NAMES.values())
    paths = outputs.commit()
    outputs.close()
    assert {path.name: path.read_text() for path in paths} == {
        file: name for name, file in NAMES.items()
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(NAMES.values())
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in paths)


def test_without_commit_nothing_stays(tmp_path: Path) -> None:
    Outputs(tmp_path / "out").close()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    Outputs(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    for name in NAMES.values():
        (out / name).symlink_to(victim)
        (out / f".{name}.new").symlink_to(victim)
    outputs = Outputs(out)
    for descriptor, name in outputs.descriptors:
        os.write(descriptor, name.encode())
    outputs.commit()
    outputs.close()
    assert victim.read_text() == "precious"
    assert not any(path.is_symlink() for path in out.iterdir())


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RefusalError, match="Choose another OUT"):
        Outputs(tmp_path / "out")
