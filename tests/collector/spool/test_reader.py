# SPDX-License-Identifier: Apache-2.0
"""Reading a directory in which somebody has set traps."""

import os

import pytest

from collector.spool.errors import SpoolError
from collector.spool.format import HEADER_SIZE, MAX_FILE, Header, name_of, pack
from collector.spool.reader import SpoolReader

HEADER = Header(1, 2, 3, 4, 5)


@pytest.fixture
def reader(tmp_path):
    reader = SpoolReader(tmp_path)
    yield reader
    reader.close()


def test_names_are_windows_only_oldest_first(reader, tmp_path):
    for name in (name_of(12), name_of(3), "notes.txt", f".{name_of(4)}.tmp", ".reserved"):
        (tmp_path / name).write_bytes(b"")
    assert reader.names() == [name_of(3), name_of(12)]
    assert reader.names(after=name_of(3)) == [name_of(12)]


def test_a_window_is_read_and_checked(reader, tmp_path):
    (tmp_path / name_of(1)).write_bytes(pack(HEADER, b"payload"))
    assert reader.read(name_of(1)) == (HEADER, b"payload")
    assert reader.header(name_of(1)) == HEADER
    (tmp_path / name_of(1)).write_bytes(pack(HEADER, b"payload")[:-1] + b"D")
    with pytest.raises(SpoolError, match="checksum"):
        reader.read(name_of(1))
    assert reader.header(name_of(1)) == HEADER


def test_links_pipes_directories_and_giants_are_refused(reader, tmp_path):
    (tmp_path / "secret").write_bytes(pack(HEADER, b""))
    (tmp_path / name_of(1)).symlink_to("secret")
    os.mkfifo(tmp_path / name_of(2))
    (tmp_path / name_of(3)).mkdir()
    with (tmp_path / name_of(4)).open("wb") as file:
        file.truncate(MAX_FILE + 1)
    for number in range(1, 5):
        with pytest.raises(SpoolError):
            reader.read(name_of(number))


def test_a_window_may_go_while_one_looks(reader):
    for call in (reader.read, reader.header):
        with pytest.raises(FileNotFoundError):
            call(name_of(1))


def test_a_header_is_not_read_beyond_its_end(reader, tmp_path):
    (tmp_path / name_of(1)).write_bytes(b"x" * (HEADER_SIZE - 1))
    with pytest.raises(SpoolError, match="shorter"):
        reader.header(name_of(1))


def test_the_directory_itself_may_not_be_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SpoolError):
        SpoolReader(tmp_path / "link")


def test_a_change_shows(reader, tmp_path):
    os.utime(tmp_path, ns=(1, 1))
    assert reader.changed_ns() == 1
    (tmp_path / name_of(1)).write_bytes(b"")
    assert reader.changed_ns() != 1
