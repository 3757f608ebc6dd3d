# SPDX-License-Identifier: Apache-2.0
"""The two ELF workers of a running agent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.symbolize.client import TABLE_DEADLINE, ElfClient
from ctl.processes import agent_uids, find
from tests.kernel.agent import LAYOUT, Agent

pytestmark = pytest.mark.root


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path, unwinding="frame_pointers") as running:  # nobody else wants tables
        yield running


@contextlib.contextmanager
def client(agent: Agent, path: Path) -> Iterator[ElfClient]:
    made = ElfClient(f"/proc/{agent.supervisor}/root{path}", TABLE_DEADLINE)
    yield made
    made.close()


def test_a_worker_amid_a_table_delays_no_name(agent: Agent) -> None:
    program = os.open(sys.executable, os.O_RDONLY)
    try:
        with client(agent, LAYOUT.tables_socket) as tables, client(agent, LAYOUT.elf_socket) as elf:
            assert agent.pid_of("tables") is None
            assert tables.unwind(program).chunks
            worker: int = agent.wait_for(lambda: agent.pid_of("tables"), 10)
            os.kill(worker, signal.SIGSTOP)
            assert elf.describe(program).segments
            assert agent.pid_of("elf") not in (None, worker)
            shown = {row.role for row in find(Path("/proc"), agent_uids())}
            assert {"elf worker", "elf worker (tables)"} <= shown
            # killed, it is started again when it is needed
            os.kill(worker, signal.SIGKILL)
            assert tables.unwind(program).chunks
            assert agent.pid_of("tables") not in (None, worker)
    finally:
        os.close(program)
