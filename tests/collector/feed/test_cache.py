# SPDX-License-Identifier: Apache-2.0
"""Tables on disk: what comes back is what was put, or nothing, whatever happened to the file."""

from __future__ import annotations

import os
import random
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.feed import reader, stored
from collector.feed.cache import NOTE_USE_SECONDS, Cache
from collector.symbolize.tables import BODY_SIZE, UnwindTable
from tests.collector.feed.maps import chunks, identity

READER = b"r" * stored.READER_SIZE
KEY = identity("libc")
TABLE = UnwindTable(13, 500, 2, 3, tuple(chunks(3)))
NOISE = random.Random(7)  # does not compress
LARGE = UnwindTable(
    *(16, 1, 0, 0),
    tuple((page, body[:16] + NOISE.randbytes(BODY_SIZE - 16)) for page, body in chunks(9)),
)
FILES = (stored.pack(KEY, READER, TABLE), stored.pack(KEY, READER, LARGE))


def cache(path, **changes):
    options = {"max_bytes": 1 << 20, "min_free_bytes": 0, "reader": READER}
    return Cache(path, **(options | changes))


def names(path):
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("table", [TABLE, LARGE, UnwindTable(16, 0, 0, 0, ())])
def test_comes_back_in_another_process_too(tmp_path, table):
    one = cache(tmp_path)
    assert one.get(KEY) is None
    one.put(KEY, table)
    assert one.get(KEY) == table
    again = cache(tmp_path)
    assert again.get(KEY) == table
    assert again.get(identity("other")) is None
    assert (one.counters.hits, one.counters.misses, one.counters.stored) == (1, 1, 1)
    assert (len(again), again.size) == (1, one.size)
    assert [entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()] == [0o600]


def test_compresses_where_it_pays():
    small, large = FILES
    assert len(small) < 0.2 * 3 * BODY_SIZE
    assert len(large) == stored.HEADER_SIZE + 9 * (BODY_SIZE + 4)


@given(
    whole=st.sampled_from(FILES),
    at=st.floats(0, 1, exclude_max=True),
    what=st.sampled_from(["flip", "cut", "longer", "gone"]),
    mask=st.integers(1, 255),
)
def test_damage_never_gives_a_table(whole, at, what, mask):
    data = bytearray(whole)
    place = int(at * len(data))
    if what == "flip":
        data[place] ^= mask
    elif what == "cut":
        del data[place:]
    elif what == "longer":
        data += bytes(mask)
    else:
        del data[place : place + mask]
    with pytest.raises(stored.StoredError):
        stored.unpack(KEY, READER, bytes(data))


def sealed(fields, body):
    """A file whose checksums are right, whatever it says."""
    head = stored._FIELDS.pack(*fields)
    return head + struct.pack(">I", zlib.crc32(head)) + body


@given(
    numbers=st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3),
    counts=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 3), min_size=4, max_size=4),
    body=st.binary(max_size=200)
    | st.integers(0, 3).map(lambda n: bytes(n * (BODY_SIZE + 4)))
    | st.integers(0, 1 << 20).map(lambda n: zlib.compress(bytes(n))),
    length=st.none() | st.integers(0, 2**64 - 1),
)
def test_right_checksums_over_anything_give_a_table_or_the_error(numbers, counts, body, length):
    flags, shift, zero = numbers[0] & 1, numbers[1] % 20, numbers[2] % 2
    size = len(body) if length is None else length
    fields = (stored.MAGIC, stored.FORMAT, flags, shift, zero, READER, KEY, *counts)
    data = sealed((*fields, size, zlib.crc32(body)), body)
    try:
        table = stored.unpack(KEY, READER, data)
    except stored.StoredError:
        return
    assert len(table.chunks) == counts[3]
    assert 10 <= table.page_shift <= 16


def test_a_bomb_takes_no_memory():
    bomb = zlib.compress(bytes(512 << 20), 1)
    for count in (1, 1 << 31):
        fields = (stored.MAGIC, 1, 1, 16, 0, READER, KEY, 1, 0, 0, count, len(bomb))
        with pytest.raises(stored.StoredError):
            stored.unpack(KEY, READER, sealed((*fields, zlib.crc32(bomb)), bomb))


def test_a_damaged_file_is_deleted_and_counted(tmp_path):
    one = cache(tmp_path)
    one.put(KEY, TABLE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert one.get(KEY) is None
    assert (one.counters.damaged, one.counters.misses, one.size) == (1, 1, 0)
    assert not names(tmp_path)
    one.put(KEY, TABLE)
    assert one.get(KEY) == TABLE


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "huge", "other table"])
def test_other_things_by_that_name_are_no_table(tmp_path, kind):
    one = cache(tmp_path)
    one.put(KEY, TABLE)
    (file,) = tmp_path.iterdir()
    moved = tmp_path / "elsewhere"
    file.rename(moved)
    if kind == "link":
        file.symlink_to(moved)
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "huge":
        with file.open("wb") as stream:
            stream.truncate(stored.MAX_FILE + 1)
    else:
        file.write_bytes(stored.pack(identity("other"), READER, TABLE))
    for other in (one, cache(tmp_path)):
        assert other.get(KEY) is None
    assert moved.exists()


def test_another_version_of_the_code_starts_anew(tmp_path):
    cache(tmp_path).put(KEY, TABLE)
    newer = cache(tmp_path, reader=b"s" * stored.READER_SIZE)
    assert newer.get(KEY) is None
    assert newer.counters.outdated == 1
    assert not names(tmp_path)


def test_the_version_is_that_of_the_code(tmp_path, monkeypatch):
    here = Path(reader.__file__)
    for module in [*here.parents[1].glob("elf/*.py"), *here.parents[1].glob("unwind/*.py")]:
        copy = tmp_path / module.relative_to(here.parents[1])
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(module.read_bytes())
    before = reader.version()
    monkeypatch.setattr(reader, "__file__", str(tmp_path / "feed/reader.py"))
    assert reader.version() == before
    with (tmp_path / "unwind/rows.py").open("a") as module:
        module.write("#")
    assert reader.version() != before


def test_bounded_and_the_longest_unused_go_first(tmp_path):
    one = cache(tmp_path, max_bytes=5 * 40_960)
    for number in range(5):
        one.put(identity(number), LARGE)
    assert one.get(identity(0)) == LARGE
    one.put(identity(5), LARGE)
    assert one.counters.evicted == 1
    assert [n for n in range(6) if one.get(identity(n))] == [0, 2, 3, 4, 5]
    on_disk = sum(entry.stat().st_blocks * 512 for entry in tmp_path.iterdir())
    assert on_disk <= one.size <= 5 * 40_960
    smaller = cache(tmp_path, max_bytes=2 * 40_960)
    assert len(smaller) == 2
    assert smaller.size <= 2 * 40_960
    smaller.put(KEY, UnwindTable(16, 1, 0, 0, LARGE.chunks * 3))
    assert smaller.counters.refused_full == 1


def test_use_is_remembered_by_the_day(tmp_path):
    one = cache(tmp_path, max_bytes=2 * 40_960)
    for number in range(2):
        one.put(identity(number), LARGE)
        old = time.time() - (3 - number) * NOTE_USE_SECONDS
        os.utime(tmp_path / f"{identity(number).hex()}.table", (old, old))
    two = cache(tmp_path, max_bytes=2 * 40_960)
    assert two.get(identity(0)) == LARGE
    three = cache(tmp_path, max_bytes=2 * 40_960)
    three.put(KEY, LARGE)
    assert three.get(identity(0)) == LARGE
    assert three.get(identity(1)) is None


def test_leaves_the_file_system_its_room(tmp_path):
    status = os.statvfs(tmp_path)
    full = status.f_bavail <= status.f_blocks // 20
    one = cache(tmp_path, min_free_bytes=1 << 60)
    one.put(KEY, TABLE)
    assert (one.get(KEY) is None) == full


def test_a_file_half_written_is_removed(tmp_path):
    (tmp_path / f".{KEY.hex()}.table.tmp").write_bytes(b"half")
    (tmp_path / "notes").write_text("not ours")
    one = cache(tmp_path)
    assert names(tmp_path) == ["notes"]
    one.put(KEY, TABLE)
    assert one.get(KEY) == TABLE


def test_without_a_directory_everything_is_a_miss(tmp_path):
    for one in (cache(None), cache(tmp_path / "none")):
        one.put(KEY, TABLE)
        assert one.get(KEY) is None
        assert one.counters.misses == 1
