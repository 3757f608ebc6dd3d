# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from collector.status.codec import plain
from collector.status.document import report
from collector.status.snapshot import SCHEMA, Health
from ctl import schema
from ctl.document import Failure, join
from tests.collector.status.samples import HEALTHY
from tests.ctl.test_privileges import GOOD

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / schema.SCHEMA_FILE).read_text())
DOCUMENT = plain(join(report(HEALTHY), (GOOD,), Health("ok", ())))


def valid(value):
    return jsonschema.Draft202012Validator(COMMITTED).is_valid(value)


def test_the_schema_is_generated():
    jsonschema.Draft202012Validator.check_schema(COMMITTED)
    assert schema.schema() == COMMITTED


def test_the_table_is_generated():
    page = (ROOT / schema.TABLE_FILE).read_text()
    assert page.partition(schema.MARK)[2] == schema.table().removeprefix(schema.MARK)


def test_a_status_is_valid():
    assert valid(DOCUMENT)


@pytest.mark.parametrize("kind", schema.ENUMS["Failure.error"])
def test_a_failure_is_valid(kind):
    assert valid(plain(Failure(SCHEMA, kind, "a sentence")))


def test_a_newer_agent_may_add_keys():
    assert valid({**DOCUMENT, "new": 1})


@pytest.mark.parametrize("key", sorted(DOCUMENT))
def test_a_status_without_a_part_is_invalid(key):
    assert not valid({k: v for k, v in DOCUMENT.items() if k != key})


@pytest.mark.parametrize(
    "wrong",
    [
        {"health": {"level": "great", "reasons": []}},
        {"time_ns": "now"},
        {"maps": {}},
        {"counters": {"a": 1.5}},
    ],
)
def test_a_wrong_value_is_invalid(wrong):
    assert not valid({**DOCUMENT, **wrong})


def test_every_exit_status_is_documented():
    source = (ROOT / "ctl" / "main.py").read_text()
    numbers = re.findall(r"^EXIT_\w+ = (\d)$", source, re.MULTILINE)
    page = (ROOT / schema.TABLE_FILE).read_text()
    assert sorted(numbers) == re.findall(r"^\| (\d) \|", page, re.MULTILINE)
