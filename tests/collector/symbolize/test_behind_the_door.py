# SPDX-License-Identifier: Apache-2.0
"""The collector's half of symbolization in the collector's own sandbox."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from collector.model import Mapping, MappingFlag
from collector.sandbox import close, privileges, roles
from collector.symbolize.candidate import open_candidate
from collector.symbolize.client import ElfClient
from collector.symbolize.user import Executables
from tests.collector.worker.worker_process import Supervised

pytestmark = pytest.mark.root

NOBODY = 65534


@pytest.fixture
def directory():
    made = Path(tempfile.mkdtemp(prefix="parca-agent-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def mapping_at(address):
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        start, end = (int(word, 16) for word in fields[0].split("-"))
        if start <= address < end:
            opened = open_candidate(fields[5])
            os.close(opened.fd)
            return Mapping(
                *(start, end, int(fields[2], 16), opened.device, opened.inode),
                *(opened.fs_magic, MappingFlag(0), fields[5]),
            )
    raise LookupError(hex(address))


def ask_behind_the_door(directory, mapping, address):
    """What a collector with its door closed says about one address, and about a pin."""
    for capability in range(64):
        privileges.libc.prctl(24, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    close(roles.collect(str(directory)))
    executables = Executables(ElfClient(str(directory / "elf.sock")))
    frame = executables.frames(mapping, [address])[address]
    try:
        os.close(os.open("/run", os.O_RDONLY))
        reach = "open"
    except PermissionError:
        reach = "closed"
    return [frame.function, len(frame.executable.build_id), reach]


def test_a_function_of_the_c_library_is_named(directory):
    address = ctypes.cast(ctypes.CDLL(None).qsort, ctypes.c_void_p).value + 4
    mapping = mapping_at(address)
    supervised = Supervised(directory / "elf.sock")
    (directory / "elf.sock").chmod(0o666)
    supervised.start()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = ask_behind_the_door(directory, mapping, address)
        except BaseException as error:  # noqa: BLE001 - everything must reach the parent
            answer = repr(error)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = json.loads(stream.read())
    os.waitpid(pid, 0)
    supervised.close()
    assert answer == ["qsort", 40, "closed"]
