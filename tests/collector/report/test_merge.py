# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip

import pytest

from collector.encode.proto import pprof_pb2
from collector.model import Executable, Frame, Profile, Series
from collector.report import collapsed, merge, summary, whole
from collector.report.merge import Merged

SECOND = 1_000_000_000


def merged(*profiles: Profile) -> Merged:
    result = Merged()
    for at, profile in enumerate(profiles):
        result.add(profile, profile.time_ns + at * 10 * SECOND, profile.duration_ns)
    return result


def test_windows_add_up(profile: Profile) -> None:
    both = merged(profile, profile)
    assert both.samples == 100
    assert len(both.rows) == len(merged(profile).rows) == 5
    assert both.duration_ns == 20 * SECOND
    assert both.last_ns - both.first_ns == 20 * SECOND


def test_rows_beyond_the_limit_are_counted(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "MAX_ROWS", 2)
    both = merged(profile, profile)
    assert (both.samples, both.left_out, len(both.rows)) == (80, 20, 2)


def test_the_pprof_profile_tells_processes_apart(profile: Profile) -> None:
    message = pprof_pb2.Profile.FromString(gzip.decompress(whole.encode(merged(profile, profile))))
    strings = message.string_table
    assert strings[0] == ""
    assert [(strings[one.type], strings[one.unit]) for one in message.sample_type] == [
        ("samples", "count")
    ]
    found = sorted(
        (
            sample.value[0],
            {strings[label.key]: strings[label.str] for label in sample.label}["pid"],
            [
                strings[message.function[message.location[number - 1].line[0].function_id - 1].name]
                for number in sample.location_id
                if message.location[number - 1].line
            ],
        )
        for sample in message.sample
    )
    assert found == [
        (2, "8", ["[exited]"]),
        (8, "7", ["main"]),
        (10, "8", ["loop", "main"]),
        (20, "7", ["vfs_read", "read", "main"]),
        (60, "7", ["loop", "main"]),
    ]
    assert {strings[at] for at in message.comment} == {
        "arch=x86_64",
        "kernel_release=6.1.0",
        "node=host.example",
    }
    assert message.duration_nanos == 20 * SECOND
    assert [one.id for one in message.location] == list(range(1, len(message.location) + 1))


def test_an_empty_run_is_a_valid_profile() -> None:
    message = pprof_pb2.Profile.FromString(gzip.decompress(whole.encode(Merged())))
    assert message.sample_type
    assert not message.sample


def test_collapsed_lines_are_root_first_and_most_samples_first(profile: Profile) -> None:
    assert list(collapsed.lines(merged(profile))) == [
        "python3;main;loop 35\n",
        "python3;main;read;vfs_read_[k] 10\n",
        "python3;main;libc.so.6+0x4000 4\n",
        "python3;[exited] 1\n",
    ]


def test_a_hostile_name_stays_one_frame_of_one_line() -> None:
    frame = Frame(Executable("/bin/x", "ab"), 1, "a;b\nc 5", "/bin/x")
    profile = Profile(1, 1, 1, (Series((("comm", "x;\n"),), (((frame,), 1),)),))
    assert list(collapsed.lines(merged(profile))) == [r"x:\n;a:b\nc 5 1" + "\n"]


def test_the_summary_says_what_was_seen(profile: Profile) -> None:
    status = b'{"health": {"level": "ok"}, "secret": 1, "samples": {"total": 50}}'
    told = summary.build(merged(profile), 2, status)
    assert told["host"] == {"node": "host.example", "kernel_release": "6.1.0", "arch": "x86_64"}
    assert told["started"] == "2026-11-18T11:06:40Z"
    assert told["ended"] == "2026-11-18T11:06:50Z"
    assert (told["samples"], told["windows"], told["windows_unreadable"]) == (50, 1, 2)
    assert told["frequency_hz"] == pytest.approx(19, abs=0.01)
    assert told["samples_by_kind"] == {
        "kernel": 10,
        "user native": 39,
        "Python or JIT": 0,
        "unmapped": 1,
    }
    functions = told["top_functions"]
    assert isinstance(functions, list)
    assert functions[0] == {
        "function": "loop",
        "executable": "/usr/bin/python3.11",
        "samples": 35,
        "percent": 70.0,
    }
    processes = told["top_processes"]
    assert isinstance(processes, list)
    assert [one["pid"] for one in processes] == ["7", "8"]
    assert told["last_status"] == {"health": {"level": "ok"}, "samples": {"total": 50}}


@pytest.mark.parametrize("status", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_status_that_is_none_is_left_out(status: bytes) -> None:
    told = summary.build(Merged(), 0, status)
    assert told["last_status"] == {}
    assert (told["started"], told["samples"], told["frequency_hz"]) == ("", 0, None)
