# SPDX-License-Identifier: Apache-2.0
"""The role as it is started: unprivileged, behind its door, with descriptors to write to."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.encode import writeraw
from collector.encode.proto import pprof_pb2
from collector.model import Profile
from collector.report import flamegraph
from collector.report.errors import ReportError
from collector.report.main import main, passed
from collector.spool.format import Header, name_of, pack

NOBODY = 65534
PR_CAPBSET_DROP = 24
NAMES = ("profile", "collapsed", "flamegraph", "summary", "status")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that nobody can enter, with a spool and the page's parts."""
    base = Path(f"/run/parca-agent-test-{secrets.token_hex(4)}")
    shutil.copytree(flamegraph.PAGE, base / "page")
    (base / "spool").mkdir()
    for path in (base, *base.rglob("*")):
        path.chmod(0o755)
    monkeypatch.setattr(flamegraph, "PAGE", base / "page")
    yield base
    shutil.rmtree(base)


def spool(place: Path, number: int, profile: Profile) -> str:
    header = Header(1, number, profile.time_ns, profile.duration_ns, profile.samples)
    name = name_of(number)
    path = place / "spool" / name
    path.write_bytes(pack(header, writeraw.encode(profile)))
    path.chmod(0o644)
    return name


def run(place: Path, *arguments: str, status: bytes = b"") -> tuple[int, dict[str, bytes]]:
    """main() in a child of its own; (exit code, descriptor name to what was written)."""
    files = {name: os.memfd_create(name) for name in NAMES}
    os.write(files["status"], status)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            for capability in range(64):
                ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            held = [os.dup2(files[name], 200 + at) for at, name in enumerate(NAMES)]
            for target, source in enumerate(held, 3):
                os.dup2(source, target)
            os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": ":".join(NAMES)}
            code = main(["--spool", str(place / "spool"), *arguments])
        finally:
            os._exit(code)
    _, wait_status = os.waitpid(pid, 0)
    written = {}
    for name, descriptor in files.items():
        written[name] = os.pread(descriptor, 1 << 24, 0)
        os.close(descriptor)
    return os.waitstatus_to_exitcode(wait_status), written


@pytest.mark.root
def test_the_four_files_tell_of_this_runs_windows_only(place: Path, profile: Profile) -> None:
    before = spool(place, 4, profile)
    spool(place, 5, profile)
    spool(place, 6, profile)
    (place / "spool" / name_of(7)).write_bytes(b"torn")
    status = b'{"samples": {"total": 100}}'
    code, written = run(place, "--after", before, status=status)
    assert code == 0
    message = pprof_pb2.Profile.FromString(gzip.decompress(written["profile"]))
    assert sum(sample.value[0] for sample in message.sample) == 100
    assert written["collapsed"].startswith(b"python3;main;loop 70\n")
    assert "host.example · CPU profile".encode() in written["flamegraph"]
    assert b"100 samples at 19 Hz" in written["flamegraph"]
    told = json.loads(written["summary"])
    assert (told["windows"], told["windows_unreadable"], told["samples"]) == (2, 1, 100)
    assert told["last_status"] == {"samples": {"total": 100}}


@pytest.mark.root
def test_an_empty_run_has_four_valid_files(place: Path) -> None:
    code, written = run(place)
    assert code == 0
    assert json.loads(written["summary"])["samples"] == 0
    assert b"No samples were taken." in written["flamegraph"]
    assert written["collapsed"] == b""


@pytest.mark.root
def test_a_spool_that_is_not_there_is_a_failure(place: Path) -> None:
    (place / "spool").rmdir()
    assert run(place)[0] == 1


def test_descriptors_must_be_meant_for_this_process() -> None:
    environment = {"LISTEN_PID": "7", "LISTEN_FDNAMES": "profile:collapsed:flamegraph:summary"}
    assert passed(environment, 7)["summary"] == 6
    with pytest.raises(ReportError, match="LISTEN_PID"):
        passed(environment, 8)
    with pytest.raises(ReportError, match="named summary"):
        passed({"LISTEN_PID": "7", "LISTEN_FDNAMES": "profile:collapsed:flamegraph"}, 7)
