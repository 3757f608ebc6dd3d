# SPDX-License-Identifier: Apache-2.0
"""One series as pprof: the rules of the format, one test each."""

import gzip

from collector.encode.pprof import build_series, encode_series
from collector.model import Executable, Frame, Profile, Series
from tests.doubles.parca_rules import check_profile, decode_profile

PROGRAM = Executable("/usr/bin/program", "aa" * 20)
LIBC = Executable("/usr/lib/libc.so.6", "bb" * 20)
KERNEL = Executable("[kernel.kallsyms]", "")
MAIN = Frame(PROGRAM, 0x1130, "main")
STRIPPED = Frame(PROGRAM, 0x2240, "")
WRITE = Frame(LIBC, 0x9000, "__write")
VFS_WRITE = Frame(KERNEL, 0, "vfs_write")
EXT4 = Frame(KERNEL, 0, "ext4_write", "ext4")


def build(*samples, labels=(("executable", PROGRAM.name),)):
    series = Series(labels, samples)
    message = build_series(series, Profile(10**18, 10**10, 52_631_578, (series,)))
    check_profile(message)
    return message


def strings(message, *indices):
    return [message.string_table[index] for index in indices]


def mappings(message):
    return [
        (*strings(message, mapping.filename, mapping.build_id), mapping.has_functions)
        for mapping in message.mapping
    ]


def names(message, sample):
    """Leaf first: the function of each location, or its address where it has no line."""
    found = []
    for number in sample.location_id:
        location = message.location[number - 1]
        lines = [message.function[line.function_id - 1] for line in location.line]
        found += [message.string_table[function.name] for function in lines] or [location.address]
    return found


def test_header_says_samples_per_cpu_time():
    message = build(((MAIN,), 3))
    assert len(message.sample_type) == 1
    kinds = message.sample_type[0], message.period_type
    assert [strings(message, kind.type, kind.unit) for kind in kinds] == [
        ["samples", "count"],
        ["cpu", "nanoseconds"],
    ]
    assert (message.period, message.time_nanos) == (52_631_578, 10**18)
    assert message.duration_nanos == 10**10


def test_duration_is_never_zero():
    series = Series((), (((MAIN,), 1),))
    assert build_series(series, Profile(1, 0, 1, (series,))).duration_nanos == 1


def test_frames_stay_leaf_first_with_their_counts():
    message = build(((VFS_WRITE, WRITE, MAIN), 5), ((MAIN,), 2))
    assert [names(message, sample) for sample in message.sample] == [
        ["vfs_write", "__write", "main"],
        ["main"],
    ]
    assert [list(sample.value) for sample in message.sample] == [[5], [2]]


def test_all_mappings_are_at_zero():
    message = build(((WRITE, MAIN), 1))
    for mapping in message.mapping:
        assert (mapping.memory_start, mapping.memory_limit, mapping.file_offset) == (0, 0, 0)
    assert {location.address for location in message.location} == {0x1130, 0x9000}


def test_named_and_unnamed_frames_of_a_file_get_a_mapping_each():
    message = build(((STRIPPED, MAIN), 1))
    assert sorted(mappings(message)) == [
        (PROGRAM.name, PROGRAM.build_id, False),
        (PROGRAM.name, PROGRAM.build_id, True),
    ]
    assert names(message, message.sample[0]) == [0x2240, "main"]
    for location in message.location:
        assert bool(location.line) == message.mapping[location.mapping_id - 1].has_functions


def test_the_program_is_the_first_mapping():
    message = build(((VFS_WRITE, WRITE, MAIN), 1))
    assert mappings(message)[0][0] == PROGRAM.name
    message = build(((VFS_WRITE, WRITE), 1), labels=())
    assert mappings(message)[0][0] == LIBC.name


def test_kernel_functions_name_their_module_and_have_no_build_id():
    message = build(((VFS_WRITE, EXT4), 1))
    assert mappings(message) == [("[kernel.kallsyms]", "", True)]
    files = {tuple(strings(message, f.name, f.filename)) for f in message.function}
    assert files == {("vfs_write", "vmlinux"), ("ext4_write", "ext4")}


def test_user_functions_name_their_executable_as_file_and_keep_the_raw_name():
    message = build(((Frame(LIBC, 1, "_ZN1a1bEv"),), 1))
    (function,) = message.function
    assert strings(message, function.name, function.system_name, function.filename) == [
        "_ZN1a1bEv",
        "_ZN1a1bEv",
        LIBC.name,
    ]


def test_what_nobody_could_name_later_is_named_after_its_mapping():
    jit = Frame(Executable("[anon]", ""), 0x40, "")
    no_address = Frame(LIBC, 0, "")
    message = build(((jit, no_address, MAIN), 1))
    assert names(message, message.sample[0]) == ["[anon]", "[libc.so.6]", "main"]


def test_a_sample_without_frames_is_still_there():
    message = build(((), 4), ((MAIN,), 1))
    assert names(message, message.sample[0]) == ["[no stack]"]
    assert message.sample[0].value == [4]


def test_equal_stacks_are_one_sample_even_of_distinct_objects():
    twin = Frame(Executable(PROGRAM.name, PROGRAM.build_id), 0x1130, "main")
    message = build(((MAIN,), 1), ((twin,), 2), ((MAIN,), 0))
    assert [list(sample.value) for sample in message.sample] == [[3]]
    assert len(message.location) == len(message.mapping) == 1


def test_a_kernel_address_is_sent_as_no_address():
    for address in (0xFFFFFFFF81000000, 1 << 63, -0x400000):
        message = build(((Frame(KERNEL, address, "f"), Frame(LIBC, address, "")), 1))
        assert {location.address for location in message.location} == {0}
        assert names(message, message.sample[0]) == ["f", "[libc.so.6]"]


def test_only_addresses_within_files_leave():
    jit, kernel = Frame(Executable("[anon]", ""), 0x7F0012345678, ""), Frame(KERNEL, 0x1234, "f")
    message = build(((jit, kernel, MAIN), 1))
    assert [location.address for location in message.location] == [0, 0, MAIN.address]


def test_half_a_surrogate_pair_does_not_stop_the_window():
    message = build(((Frame(Executable("/bin/\udcff", "cc"), 1, "f\ud800"),), 1))
    assert {"/bin/?", "f?"} <= set(message.string_table)


def test_output_is_gzip_and_reproducible():
    series = Series((), (((MAIN, WRITE), 1),))
    profile = Profile(1, 1, 1, (series,))
    data = encode_series(series, profile)
    assert data == encode_series(series, profile)
    assert decode_profile(data) == build_series(series, profile)
    assert gzip.decompress(data)
