# SPDX-License-Identifier: Apache-2.0
"""The status for people: at most 80 columns, every foreign text cleaned."""

from __future__ import annotations

from collections.abc import Iterator

from collector.label.escape import CUT, clean
from collector.status.snapshot import MapFill, Snapshot, Upload
from ctl.document import AgentProcess, Document
from ctl.units import ago, count, size

WIDTH = 80
INDENT = 11
DIGEST = 16  # characters of a hash; --json shows all
_ROW = "{:<10} {:>7} {:<16} {:>6} {:>5} {:>6} {:>6} {:<9} {:>3} {:>3}"
_HEAD = _ROW.format(
    "PROCESS", "PID", "USER", "CPU s", "CPU %", "RSS", "PSS", "I P E B A", "NNP", "SEC"
)
LEGEND = (
    "I P E B A: inheritable, permitted, effective, bounding, ambient capabilities;\n"
    "0 is an empty set. NNP 1: no execve can gain a privilege. SEC 2: system calls\n"
    "are filtered."
)


def render(document: Document) -> str:
    """The whole table, ending in a line end."""
    title = f"parca-agent {_name(document.versions.agent)} on {_name(document.node, 48)}"
    parts = [f"{title}: {document.health.level}"]
    parts += [f"  {clean(reason, WIDTH - 2)}" for reason in document.health.reasons]
    parts += ["", *_facts(document), "", *_privileges(document.agent_processes), "", LEGEND]
    return "".join(f"{part}\n" for part in _cut(parts))


def _cut(parts: list[str]) -> Iterator[str]:
    for part in parts:
        for line in part.split("\n"):
            yield line if len(line) <= WIDTH else line[: WIDTH - 1] + CUT


def _facts(status: Snapshot) -> Iterator[str]:
    yield from _sampling(status)
    yield from _samples(status)
    stacks, processes, spool = status.stacks, status.processes, status.spool
    whole = f"{stacks.user_complete_percent:.1f} % of user stacks whole"
    yield _line("stacks", f"{count(stacks.last_window)} in the last window", whole)
    yield _line(
        "processes",
        f"{count(processes.tracked)} known",
        f"{count(processes.last_window)} sampled in the last window",
        f"{count(processes.exited_before_mapped)} gone unread",
    )
    yield from _unwinding(status)
    yield _line("maps", size(status.map_memory_bytes), *_fullest(status.maps))
    yield _line(
        "spool",
        f"{count(spool.files)} windows",
        f"{size(spool.bytes)} of {size(spool.max_bytes)}",
        f"oldest {ago(spool.oldest_age_seconds)}",
    )
    for upload in status.uploads:
        yield from _upload(upload)
    sandbox = status.sandbox
    filtered = f"{sandbox.system_calls} system calls allowed"
    yield _line("sandbox", filtered, f"Landlock ABI {sandbox.landlock_abi}")
    yield from _versions(status)


def _sampling(status: Snapshot) -> Iterator[str]:
    sampling = status.sampling
    yield _line(
        "sampling",
        f"{_name(sampling.mode, 8)} at {sampling.frequency_hz} Hz",
        f"{sampling.cpus_sampled} of {sampling.cpus_online} CPUs",
        f"windows of {sampling.window_seconds:g} s",
        f"up {ago(status.uptime_seconds)}",
    )


def _samples(status: Snapshot) -> Iterator[str]:
    samples = status.samples
    yield _line(
        "samples",
        f"{count(samples.total)} ({samples.per_second:.1f}/s)",
        f"{count(samples.dropped)} lost ({samples.dropped_per_second:.1f}/s)",
    )
    for name, total in sorted(samples.outcomes.items(), key=lambda item: (-item[1], item[0])):
        rate = samples.outcomes_per_second.get(name, 0.0)
        if total:
            yield f"{'':{INDENT}}{_name(name):<32} {count(total):>15} {rate:>10.1f}/s"


def _unwinding(status: Snapshot) -> Iterator[str]:
    unwinding = status.unwinding
    whole = unwinding.whole_percent
    yield _line(
        "unwinding",
        "few stacks of late" if whole is None else f"{whole:.1f} % whole of late",
        f"{count(unwinding.executables)} tables",
        f"{size(unwinding.memory_bytes)} of {size(unwinding.max_memory_bytes)}",
        f"{count(unwinding.waiting)} wait",
    )
    refused = sorted(unwinding.refused.items(), key=lambda item: (-item[1], item[0]))
    for name, total in refused:
        yield f"{'':{INDENT}}{'without: ' + _name(name):<32} {count(total):>15}"


def _fullest(maps: tuple[MapFill, ...]) -> Iterator[str]:
    shares = [
        (item.entries / item.max_entries, item.name)
        for item in maps
        if item.entries is not None and item.max_entries > 0
    ]
    if shares:
        share, name = max(shares)
        yield f"fullest is {_name(name)} with {100 * share:.1f} %"


def _upload(upload: Upload) -> Iterator[str]:
    age = upload.acknowledged_age_seconds
    yield _line(
        "upload",
        _name(upload.destination, 24),
        f"{count(upload.windows)} windows acknowledged",
        "never" if age is None else f"newest {ago(age)} ago",
        f"{count(upload.pending)} wait",
    )
    if upload.last_error:
        yield f"{'':{INDENT}}{clean(upload.last_error, WIDTH - INDENT)}"


def _versions(status: Snapshot) -> Iterator[str]:
    versions = status.versions
    yield _line(
        "versions",
        f"kernel {_name(versions.kernel_release, 32)}",
        f"Python {_name(versions.python, 10)}",
        f"libbpf {_name(versions.libbpf, 10)}",
    )
    hashes = {"abi": versions.abi_sha256, **versions.objects_sha256}
    for name, digest in sorted(hashes.items()):
        yield f"{'':{INDENT}}{_name(name, 16):<16} {_name(digest[:DIGEST])}"


def _privileges(rows: tuple[AgentProcess, ...]) -> Iterator[str]:
    yield _HEAD
    for row in rows:
        held = row.capabilities
        sets = held.inheritable, held.permitted, held.effective, held.bounding, held.ambient
        yield _ROW.format(
            row.role[:10],
            row.pid,
            row.user[:16],
            f"{row.cpu_seconds:.1f}",
            f"{row.cpu_percent:.2f}",
            size(row.rss_bytes, unit="M"),
            "-" if row.pss_bytes is None else size(row.pss_bytes, unit="M"),
            " ".join("!" if int(bits, 16) else "0" for bits in sets),
            row.no_new_privs,
            row.seccomp,
        )


def _line(title: str, *facts: str) -> str:
    return f"{title:<{INDENT}}" + ", ".join(facts)


def _name(text: str, limit: int = 32) -> str:
    return clean(text, limit)
