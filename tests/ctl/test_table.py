# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.status.document import report
from collector.status.snapshot import Health, Snapshot
from ctl.document import Document, join
from ctl.table import WIDTH, render
from ctl.units import ago, size
from tests.collector.status.samples import HEALTHY
from tests.ctl.test_privileges import GOOD

OK = Health("ok", ())
HOSTILE = st.text(st.characters(), min_size=1, max_size=300)


def document(snapshot=HEALTHY, **row):
    return join(report(snapshot), (dataclasses.replace(GOOD, **row),), OK)


def test_the_table():
    lines = render(document()).split("\n")
    assert lines[0] == "parca-agent 0.1.0 on host-1: ok"
    assert "samples    28,000 (38.0/s), 2 lost (0.0/s)" in lines
    assert "maps       12.0 MiB, fullest is samples_0 with 1.3 %" in lines
    assert "upload     main, 75 windows acknowledged, newest 3 s ago, 0 wait" in lines
    row = next(line for line in lines if line.startswith("collector"))
    assert row.split()[-7:] == ["0", "0", "0", "0", "0", "1", "2"]


def test_reasons_stand_below_the_title():
    joined = join(report(HEALTHY), (), Health("degraded", ("something waits",)))
    assert render(joined).split("\n")[:2] == [
        "parca-agent 0.1.0 on host-1: degraded",
        "  something waits",
    ]


def test_a_held_capability_is_marked():
    held = dataclasses.replace(GOOD.capabilities, bounding=f"{1 << 39:016x}")
    assert " 0 0 0 ! 0 " in render(document(capabilities=held))


def hostile(text: str) -> Document:
    """Every text of a document replaced."""
    joined = document(role="collector", user="parca-agent")

    def replaced(value):
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return dataclasses.replace(
                value, **{f.name: replaced(getattr(value, f.name)) for f in fields}
            )
        if isinstance(value, tuple):
            return tuple(replaced(item) for item in value)
        if isinstance(value, dict):
            return {text + key: item for key, item in value.items()}
        return text if isinstance(value, str) else value

    parts = {f.name: replaced(getattr(joined, f.name)) for f in dataclasses.fields(Snapshot)}
    health = Health("degraded", (text,))
    return dataclasses.replace(joined, **parts, health=health)


@given(HOSTILE)
def test_sec_14_nothing_the_agent_says_controls_the_terminal(text):
    printed = render(hostile(text))
    assert printed.replace("\n", "").isprintable()
    assert len(printed.splitlines()) == len(render(hostile("x")).splitlines())


@given(HOSTILE, st.integers(0, 1 << 62))
def test_eighty_columns(text, number):
    spool = dataclasses.replace(HEALTHY.spool, files=number, bytes=number)
    lines = render(dataclasses.replace(hostile(text), spool=spool)).split("\n")
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")],
)
def test_ago(seconds, text):
    assert ago(seconds) == text


def test_size():
    assert size(3 << 19) == "1.5 MiB"
