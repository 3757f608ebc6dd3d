# SPDX-License-Identifier: Apache-2.0
"""The reference reader's opinion of a produced profile, where Go is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from collector.encode.pprof import encode_series
from collector.model import Executable, Frame, Profile, Series

GO = shutil.which("go")
PROGRAM = Executable("/usr/bin/program", "aa" * 20)
MAIN = Frame(PROGRAM, 0x1130, "main")
UNNAMED = Frame(PROGRAM, 0x9999, "")
KERNEL = Frame(Executable("[kernel.kallsyms]", ""), 0, "vfs_write")


@pytest.mark.skipif(GO is None, reason="go is not installed, so `go tool pprof` cannot be asked")
def test_go_tool_pprof_reads_it(tmp_path: Path) -> None:
    samples = (((KERNEL, MAIN), 30), ((MAIN,), 60), ((UNNAMED, MAIN), 10))
    series = Series((("executable", PROGRAM.name),), samples)
    path = tmp_path / "profile.pb.gz"
    path.write_bytes(encode_series(series, Profile(10**18, 10**10, 10**9 // 19, (series,))))
    run = subprocess.run(
        [GO, "tool", "pprof", "-symbolize=none", "-top", str(path)],
        env={**os.environ, "PPROF_TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Type: samples" in run.stdout
    rows = {line.split()[-1]: line.split()[:2] for line in run.stdout.splitlines() if "%" in line}
    assert rows["main"] == ["60", "60.00%"]
    assert rows["vfs_write"] == ["30", "30.00%"]
    assert rows["[program]"] == ["10", "10.00%"]
