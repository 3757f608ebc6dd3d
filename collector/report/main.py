# SPDX-License-Identifier: Apache-2.0
"""`report --spool DIR [--after NAME]`: read the spool, write four files, end.

The files are descriptors named profile, collapsed, flamegraph and summary in LISTEN_FDNAMES; one
named status may hold the collector's last status answer. Exit status 0, or 1 with a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from collector import sandbox
from collector.report import collapsed, flamegraph, summary, tree, whole
from collector.report.decode import decode
from collector.report.errors import ReportError
from collector.report.merge import Merged
from collector.sandbox import roles
from collector.spool.errors import SpoolError
from collector.spool.reader import SpoolReader

STATUS_BYTES = 1 << 20
FIRST = 3


def main(argv: list[str]) -> int:
    """The report role; argv without the role's name."""
    parser = argparse.ArgumentParser(prog="report")
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--after", default="", help="name of the last window not to report")
    options = parser.parse_args(argv)
    try:
        files = passed(dict(os.environ), os.getpid())
        parts = flamegraph.template()
        reader = SpoolReader(options.spool)
        sandbox.close(roles.report(str(options.spool)))
        write(reader, options.after, parts, files)
    except (OSError, ReportError, SpoolError, sandbox.SandboxError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


def passed(environment: dict[str, str], pid: int) -> dict[str, int]:
    """Names to the descriptors that were passed, as sd_listen_fds(3); ReportError without."""
    if environment.get("LISTEN_PID") != str(pid):
        raise ReportError("no descriptors were passed to this process (LISTEN_PID)")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    files = {name: number for number, name in enumerate(names, FIRST)}
    if missing := {"profile", "collapsed", "flamegraph", "summary"} - files.keys():
        raise ReportError(f"no descriptor named {min(missing)} was passed")
    return files


def write(
    reader: SpoolReader, after: str, parts: flamegraph.Template, files: dict[str, int]
) -> None:
    """Merge the windows younger than `after` and fill the four files."""
    merged, unreadable = merge(reader, after)
    status = _read(files["status"]) if "status" in files else b""
    told = summary.build(merged, unreadable, status)
    title, subtitle = headline(merged, told)
    page = flamegraph.render(tree.build(merged), title, subtitle, parts)
    _write(files["profile"], whole.encode(merged))
    _write(files["collapsed"], "".join(collapsed.lines(merged)).encode())
    _write(files["flamegraph"], page.encode())
    _write(files["summary"], (json.dumps(told, indent=2) + "\n").encode())


def merge(reader: SpoolReader, after: str) -> tuple[Merged, int]:
    """All windows younger than `after`, and how many of them could not be read."""
    merged, unreadable = Merged(), 0
    for name in reader.names(after):
        try:
            header, payload = reader.read(name)
            merged.add(decode(payload), header.time_ns, header.duration_ns)
        except (FileNotFoundError, ReportError, SpoolError) as error:
            print(f"report: {name} is left out: {error}", file=sys.stderr)
            unreadable += 1
    return merged, unreadable


def headline(merged: Merged, told: dict[str, object]) -> tuple[str, str]:
    """Title and subtitle of the flame graph: host; then time, length, samples, rate, kernel."""
    host = told["host"]
    assert isinstance(host, dict)
    rate = f" at {told['frequency_hz']:g} Hz" if merged.period_ns else ""
    began = str(told["started"]).replace("T", " ").replace("Z", " UTC")
    texts = (
        began,
        f"{merged.duration_ns / 1e9:,.1f} s",
        f"{merged.samples:,} samples{rate}",
        f"Linux {host['kernel_release']} {host['arch']}",
    )
    return f"{host['node']} · CPU profile", " · ".join(text for text in texts if text)


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, STATUS_BYTES, 0)


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
