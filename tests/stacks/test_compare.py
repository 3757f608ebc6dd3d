# SPDX-License-Identifier: Apache-2.0
"""Stopped stacks, walked by libdw and by us; `python -m tests.stacks.compare` walks many more."""

import pytest

from tests.stacks import libdw
from tests.stacks.compare import AGREEMENT, compare
from tests.stacks.scenarios import SCENARIOS
from tests.stacks.walker import Walker, build

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(libdw.missing()), reason=libdw.missing())]

NAMES = ("cpython-deep", "deep-60", "signal-handler", "throwing")
STACKS = 25


@pytest.mark.parametrize("name", NAMES)
def test_libdw_finds_the_same_frames(name, tmp_path):
    (scenario,) = (one for one in SCENARIOS if one.name == name)
    with Walker(build(tmp_path)) as walker:
        found = compare(scenario, walker, STACKS)
    print(found)
    assert found.stacks > STACKS / 2
    assert found.share >= AGREEMENT, found.classes
