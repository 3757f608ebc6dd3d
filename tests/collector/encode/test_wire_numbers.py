# SPDX-License-Identifier: Apache-2.0
"""Field numbers against a list written apart from the .proto files, from the wire format.

A wrong number would go unnoticed by every round trip through the same .proto file.
"""

import pytest

from collector.encode.proto import pprof_pb2, profilestore_pb2

PPROF = {
    "Profile": "sample_type sample mapping location function string_table drop_frames "
    "keep_frames time_nanos duration_nanos period_type period comment default_sample_type",
    "ValueType": "type unit",
    "Sample": "location_id value label",
    "Label": "key str num num_unit",
    "Mapping": "id memory_start memory_limit file_offset filename build_id has_functions "
    "has_filenames has_line_numbers has_inline_frames",
    "Location": "id mapping_id address line is_folded",
    "Line": "function_id line column",
    "Function": "id name system_name filename start_line",
}
PROFILESTORE = {
    "WriteRawRequest": "- series normalized",
    "WriteRawResponse": "",
    "RawProfileSeries": "labels samples",
    "LabelSet": "labels",
    "Label": "name value",
    "RawSample": "raw_profile executable_info",
    "ExecutableInfo": "elf_type load_segment",
    "LoadSegment": "offset vaddr",
}


@pytest.mark.parametrize(
    ("module", "package", "expected"),
    [
        (pprof_pb2, "perftools.profiles", PPROF),
        (profilestore_pb2, "parca.profilestore.v1alpha1", PROFILESTORE),
    ],
)
def test_numbers(module, package, expected):
    assert module.DESCRIPTOR.package == package
    messages = module.DESCRIPTOR.message_types_by_name
    assert set(messages) == set(expected)
    for name, fields in expected.items():
        numbers = {field: n for n, field in enumerate(fields.split(), 1) if field != "-"}
        assert {f.name: f.number for f in messages[name].fields} == numbers, name


def test_bytes_of_a_profile_drawn_by_hand():
    profile = pprof_pb2.Profile(string_table=["", "a"], time_nanos=5, duration_nanos=6, period=7)
    profile.sample.add(location_id=[1, 300], value=[2])
    drawn = "12 08 0a03 01ac02 12 01 02".replace(" ", "") + "3200" + "320161" + "4805 5006 6007"
    assert profile.SerializeToString(deterministic=True) == bytes.fromhex(drawn)
