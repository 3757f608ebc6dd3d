# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.status.document import answer
from ctl import main as ctl
from ctl import privileges
from tests.collector.status.samples import HEALTHY, changed
from tests.ctl.conftest import STRANGER

ROOT = Path(__file__).parents[2]


def program(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "ctl", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def only_stranger(monkeypatch):
    """The agent's processes are those of STRANGER, however young they are."""
    monkeypatch.setattr(ctl, "agent_uids", lambda: frozenset({STRANGER}))
    monkeypatch.setattr(privileges, "STARTED_SECONDS", 0.0)


@pytest.mark.root
@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (HEALTHY, 0),
        (changed("sampling", cpus_sampled=1), 1),
        (changed("sampling", cpus_sampled=0), 2),
    ],
    ids=["ok", "degraded", "failed"],
)
def test_exit_status_follows_health(serve, closed_process, only_stranger, capsys, snapshot, code):
    path = serve(lambda connection: connection.sendall(answer(snapshot)))
    assert ctl.main(["status", "--json", "--socket", path]) == code
    printed = json.loads(capsys.readouterr().out)
    assert [row["pid"] for row in printed["agent_processes"]] == [closed_process]


@pytest.mark.root
def test_a_kept_privilege_fails_a_healthy_agent(serve, open_process, only_stranger, capsys):
    path = serve(lambda connection: connection.sendall(answer(HEALTHY)))
    assert ctl.main(["status", "--socket", path]) == 2
    assert ": failed\n" in capsys.readouterr().out


def test_not_running(tmp_path):
    result = program("status", "--socket", str(tmp_path / "none"))
    assert result.returncode == 3
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2


def test_not_running_as_json(tmp_path):
    result = program("status", "--json", "--socket", str(tmp_path / "none"))
    assert result.returncode == 3
    assert json.loads(result.stdout)["error"] == "not running"


def test_refused_by_the_agent(serve):
    path = serve(lambda connection: connection.sendall(b'{"error":"not allowed"}\n'))
    result = program("status", "--socket", path)
    assert result.returncode == 4
    assert "parca-agent-status" in result.stderr


@pytest.mark.root
def test_refused_by_the_file_mode(serve, tmp_path, monkeypatch, capsys):
    path = serve(lambda connection: None)
    os.chmod(path, 0o660)  # noqa: PTH101
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(STRANGER)
        os.setuid(STRANGER)
        os._exit(ctl.main(["status", "--socket", Path(path).name]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


def test_a_broken_answer(serve):
    path = serve(lambda connection: connection.sendall(b"x"))
    result = program("status", "--socket", path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["stat"], ["status", "--js"], ["status", "x"]])
def test_a_wrong_command_line(arguments):
    assert program(*arguments).returncode == 2


def test_a_terminal_without_unicode(serve):
    snapshot = dataclasses.replace(HEALTHY, node="hôst")
    path = serve(lambda connection: connection.sendall(answer(snapshot)))
    environment = {"PYTHONIOENCODING": "ascii"}
    result = program("status", "--socket", path, env={**os.environ, **environment})
    assert "h\\xf4st" in result.stdout


def test_a_reader_that_left(serve):
    path = serve(lambda connection: connection.sendall(answer(HEALTHY)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = subprocess.run(
        [sys.executable, "-m", "ctl", "status", "--socket", path],
        cwd=ROOT,
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write_end)
    assert result.returncode == 2
    assert result.stderr == b""
