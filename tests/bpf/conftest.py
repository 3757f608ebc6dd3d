# SPDX-License-Identifier: Apache-2.0
"""The unwinder compiled for this machine, once."""

from __future__ import annotations

import shutil

import pytest

from tests.stacks.walker import Walker, build


@pytest.fixture(scope="session")
def walker(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    with Walker(build(tmp_path_factory.mktemp("replay"))) as one:
        yield one
