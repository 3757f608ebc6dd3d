# SPDX-License-Identifier: Apache-2.0
"""docs/data.md says what is stored and shipped; the encoder says it again, and they agree."""

import dataclasses
import gzip
import re
from pathlib import Path

import pytest
from google.protobuf.message import Message

from collector.encode.proto import pprof_pb2, profilestore_pb2
from collector.encode.writeraw import encode
from collector.label.labels import NAMES
from collector.model import Executable, Frame, Profile, Series
from collector.spool.cursor import Cursor
from collector.spool.format import Header

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
ROW = re.compile(r"\| `([^`]+)` \| (.+) \| (on|off|never) \|\Z")


def section(title):
    """{field: default} of the table under a heading."""
    body = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in body.splitlines() if line.startswith("| `")]
    found = [ROW.match(row) for row in rows]
    assert all(found), [row for row, match in zip(rows, found, strict=True) if not match]
    names = [match[1] for match in found]
    assert len(set(names)) == len(names), "a field has two rows"
    assert all((match[2] == "—") == (match[3] == "never") for match in found)
    return {match[1]: match[3] for match in found}


def described(module):
    messages = module.DESCRIPTOR.message_types_by_name.values()
    return {f"{message.name}.{field.name}" for message in messages for field in message.fields}


def present(message):
    """Fields that have a value somewhere in a message."""
    names = set()
    for field, value in message.ListFields():
        names.add(f"{message.DESCRIPTOR.name}.{field.name}")
        for inner in [value] if isinstance(value, Message) else value if field.is_repeated else []:
            names |= present(inner) if isinstance(inner, Message) else set()
    return names


@pytest.fixture(scope="module")
def request_():
    """A request with everything in it that the encoder can put in."""
    file = Executable("/bin/x", "ab" * 20)
    kernel = Executable("[kernel.kallsyms]", "")
    frames = Frame(kernel, 0, "f", "ext4"), Frame(file, 0x10, ""), Frame(file, 0x20, "main")
    labels = tuple((name, "value") for name in sorted(NAMES))
    series = Series(labels, ((frames, 3),))
    data = encode(Profile(10**18, 10**10, 10**7, (series,)))
    return profilestore_pb2.WriteRawRequest.FromString(data)


def on(rows):
    return {name for name, default in rows.items() if default != "never"}


def test_every_field_of_the_upload_has_a_row(request_):
    rows = section("The upload")
    assert set(rows) == described(profilestore_pb2)
    assert on(rows) == present(request_)


def test_every_field_of_the_profile_has_a_row(request_):
    rows = section("The profile")
    profile = pprof_pb2.Profile.FromString(
        gzip.decompress(request_.series[0].samples[0].raw_profile)
    )
    assert set(rows) == described(pprof_pb2)
    assert on(rows) == present(profile)


def test_every_label_has_a_row(request_):
    rows = section("Labels of a series")
    assert set(rows) == NAMES | {"__name__"}
    assert set(rows) == {label.name for label in request_.series[0].labels.labels}
    assert rows["thread_name"] == "off"


@pytest.mark.parametrize(
    ("title", "kind"),
    [("The window on disk", Header), ("The cursor of a destination", Cursor)],
)
def test_every_field_of_a_file_has_a_row(title, kind):
    assert set(section(title)) == {field.name for field in dataclasses.fields(kind)}
