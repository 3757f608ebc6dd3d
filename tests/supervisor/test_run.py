# SPDX-License-Identifier: Apache-2.0
"""Whole runs against a stage of small stand-ins; mounts, identities and sockets are real."""

from __future__ import annotations

import io
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from supervisor import directories, mounts, run, sockets
from supervisor.errors import FailureError, RefusalError
from supervisor.layout import Layout
from supervisor.run import Options
from supervisor.terminal import Terminal

pytestmark = pytest.mark.root

STAGE = Path(__file__).parent / "fakes/stage"


@pytest.fixture
def options(layout: Layout, tmp_path: Path) -> Options:
    stage = tmp_path / "stage"
    shutil.copytree(STAGE, stage)
    for path in stage.rglob("*"):
        path.chmod(0o755)
    return Options(stage=stage, out=tmp_path / "out", duration=1.0, layout=layout)


def go(options: Options, **changes: object) -> tuple[list[Path], str]:
    stream = io.StringIO()
    chosen = Options(
        **{name: getattr(options, name) for name in Options.__dataclass_fields__} | changes
    )
    comm = Path("/proc/self/comm").read_text()
    try:
        return run.run(chosen, Terminal(stream)), stream.getvalue()
    finally:
        Path("/proc/self/comm").write_text(comm)


def test_a_run_leaves_four_files_and_nothing_else(options: Options) -> None:
    paths, shown = go(options)
    assert [path.name for path in paths] == [
        "profile.pb.gz",
        "profile.collapsed.txt",
        "flamegraph.html",
        "summary.json",
    ]
    assert paths[2].read_text() == "flamegraph"
    summary = json.loads(paths[3].read_text())
    assert summary["windows"] == ["the last"]
    assert summary["status"] == {"samples": {"total": 3412}}
    assert summary["uid"] == pwd.getpwnam("parca-agent").pw_uid
    worker = pwd.getpwnam("parca-agent-elf").pw_uid
    assert f"collect: the worker is elf with uid {worker}" in shown
    assert f"collect: the worker is tables with uid {worker}" in shown
    assert not options.layout.run.exists()
    assert mounts.mounted_under(options.layout.run) == []


def test_the_next_run_reports_only_its_own_windows(options: Options) -> None:
    go(options)
    paths, _ = go(options)
    assert json.loads(paths[3].read_text())["windows"] == ["the last"]


def test_state_directories_belong_to_their_owners(options: Options) -> None:
    go(options)
    for path, user in (
        (options.layout.spool, "parca-agent"),
        (options.layout.ship, "parca-agent-ship"),
    ):
        found = path.stat()
        assert found.st_mode & 0o7777 == 0o2750
        assert found.st_uid == pwd.getpwnam(user).pw_uid


def test_a_collector_that_dies_is_restarted_and_its_windows_are_kept(options: Options) -> None:
    paths, shown = go(options, frequency=77, duration=2.0)
    assert "collect was killed by SIGKILL; starting again in 0.25 s" in shown
    assert json.loads(paths[3].read_text())["windows"] == ["before the crash", "the last"]


def test_a_collector_that_dies_amid_its_last_window_gets_a_second_try(options: Options) -> None:
    paths, shown = go(options, frequency=78)
    assert json.loads(paths[3].read_text())["windows"] == ["amid the end", "the last"]
    assert "lost" not in shown


@pytest.mark.parametrize(("frequency", "kind"), [(66, RefusalError), (67, FailureError)])
def test_a_loader_that_gives_up_leaves_nothing_behind(
    options: Options, frequency: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as error:
        go(options, frequency=frequency)
    if kind is RefusalError:
        assert str(error.value) == r"This kernel is not good enough. Use another one.\x1b[31m"
    for path in (options.layout.run, options.layout.state, options.layout.ship, options.out):
        assert not path.exists()
    assert mounts.mounted_under(options.layout.run) == []


def test_leftovers_of_a_killed_supervisor_are_cleaned(options: Options) -> None:
    where = options.layout
    for path in (where.run, where.pins, where.lib):
        directories.make(path, 0, 0, 0o755)
    mounts.mount_pins(where.pins, 0)
    mounts.mount_stage(options.stage, where.lib)
    sockets.listen(where.status_socket, 0, 0, 0o660).close()
    paths, _ = go(options)
    assert len(paths) == 4
    assert mounts.mounted_under(where.run) == []


def test_a_second_start_is_refused_and_disturbs_nothing(options: Options) -> None:
    held = directories.lock(options.layout.run)
    try:
        with pytest.raises(RefusalError, match="Another supervisor is running"):
            go(options)
    finally:
        os.close(held)
    with (
        sockets.listen(options.layout.status_socket, 0, 0, 0o660),
        pytest.raises(RefusalError, match="An agent is running already"),
    ):
        go(options)
    assert options.layout.status_socket.exists()


def test_a_credential_the_shipper_cannot_read_is_refused(options: Options, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    config = tmp_path / "agent.yaml"
    config.write_text(
        "destinations: [{name: a, address: 'localhost:1', insecure: true,"
        f" bearer_token_file: '{token}'}}]\n"
    )
    with pytest.raises(RefusalError, match=f"{token} cannot be read by the user"):
        go(options, config=config)
    assert not options.layout.run.exists()


def test_ctrl_c_stops_it_and_the_files_are_written(options: Options) -> None:
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    paths, _ = go(options, duration=None)
    timer.join()
    assert json.loads(paths[3].read_text())["windows"] == ["the last"]


def command(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_refusals_end_with_status_2_and_one_line(tmp_path: Path) -> None:
    code, text = command("run", "--stage", str(tmp_path))
    assert (code, text.count("\n")) == (2, 1)
    assert "make build" in text
    code, text = command("run", "--stage", str(tmp_path), "--config", str(tmp_path / "none"))
    assert (code, text.count("\n")) == (2, 1)
    assert command("run", "--stage", "x", "--hz", "0")[0] == 2
    assert "above 0" in command("run", "--stage", "x", "--duration", "-1")[1]
