# SPDX-License-Identifier: Apache-2.0
"""What every test may rely on: tests marked `root` run as root, or say why they do not.

Under CI, or with PARCA_AGENT_TESTS_FORCE_ROOT=1, such a skip is a failure.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings

FORCE = "PARCA_AGENT_TESTS_FORCE_ROOT"

# Bounded, but not so tightly that other work on the machine fails a test.
settings.register_profile("patient", deadline=timedelta(seconds=5))
settings.load_profile("patient")


def why_not() -> str:
    """Why tests that load BPF programs cannot run here; empty when they can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF (/sys/kernel/btf/vmlinux)"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") is None or not (reason := why_not()):
        return
    if os.environ.get(FORCE) or os.environ.get("CI"):
        pytest.fail(f"{reason}, and {FORCE} or CI forbids to skip it")
    pytest.skip(f"{reason}; to make this a failure set {FORCE}=1")
