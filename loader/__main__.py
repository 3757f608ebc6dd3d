# SPDX-License-Identifier: Apache-2.0
"""parca-agent's loader: load, attach, pin, publish, drop everything, end.

usage: loader --config FILE

Exit status: 0 sampling; 2 refused, with one sentence and the remedy on stderr; 1 anything else.
"""

from __future__ import annotations

import json
import os
import sys
import time

from libbpf import abi
from libbpf.errors import BpfError
from loader import attach, config, load, pin, privileges, probe, recorder
from loader.errors import Refusal


class Journal:
    """Which capabilities were held after each step; becomes part of the report."""

    def __init__(self) -> None:
        self.steps: list[dict[str, str]] = []

    def note(self, step: str) -> None:
        held = {name: f"{value:x}" for name, value in privileges.sets().items()}
        self.steps.append({"step": step, **held})


def run(settings: config.Config, journal: Journal) -> dict[str, object]:
    """Everything between shedding and dropping; the report."""
    probe.check_kernel(ignore_unsafe=bool(settings.ignore_unsafe_kernel))
    pin.verify_directory(settings.pins_directory)
    number = pin.clean(settings.pins_directory)
    cpus = probe.online_cpus()
    loaded = load.load_all(settings, len(cpus))
    journal.note("loaded")
    probe.require_thread_iterators(loaded.objects["iterators"].program_fd("task"))
    check_memory(loaded)
    links, how = attach.attach_all(loaded, settings, cpus)
    journal.note("attached")
    pin.pin_generation(settings.pins_directory, number, loaded, links, settings.pins_group)
    pin.retire_before(settings.pins_directory, number)
    journal.note("published")
    return {
        "generation": number,
        "time": time.time(),
        "mode": "perf",
        "perf_event_open_with": how,
        "cpus": cpus,
        "frequency": settings.frequency,
        "window_seconds": settings.window_seconds,
        "threads": bool(settings.threads),
        "unwinder": {
            "loaded": loaded.sampler == "unwinder",
            "refused": loaded.missing.get("unwinder", ""),
        },
        "pid_namespace_level": loaded.pid_level,
        "kernel": os.uname().release,
        "features": {
            "btf": "found /sys/kernel/btf/vmlinux",
            "perf_event_link": "attached and pinned",
            "thread_iterators": "read one of the loader itself",
            "ksym_iterator": "found _text",
            "memory_iterator": loaded.missing.get("memory", "refused the loader made undumpable"),
        },
        "mappings": recorder.describe(loaded),
        "programs": {name: item.programs() for name, item in loaded.objects.items()},
        "objects": abi.object_hashes(),
        "abi": abi.sha256(),
        "libbpf": abi.libbpf_version(),
    }


def check_memory(loaded: load.Loaded) -> None:
    """Sees to it that `read_memory` is pinned only if it refuses what it must."""
    if "memory" in loaded.missing:
        return
    task, program = (
        loaded.objects[item].program_fd(name)
        for item, name in (("iterators", "task"), ("memory", "read_memory"))
    )
    if refusal := probe.memory_refusal(task, program, loaded.maps["memory_request"]):
        loaded.missing["memory"] = refusal


def write_report(path: str, report: dict[str, object]) -> None:
    """Atomically: a reader sees the old report or the whole new one."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with open(fd, "w", encoding="ascii") as file:
        os.fchmod(fd, 0o644)
        json.dump(report, file, indent=1)
    os.rename(temporary, path)


def main(arguments: list[str]) -> int:
    os.umask(0o077)
    journal = Journal()
    try:
        journal.note("started")
        privileges.shed()
        journal.note("shed")
        if len(arguments) != 2 or arguments[0] != "--config":
            raise Refusal("usage: loader --config FILE")
        settings = config.read(arguments[1])
        report = run(settings, journal)
        privileges.drop_all()
        journal.note("dropped")
        write_report(settings.report, {**report, "capabilities": journal.steps})
    except Refusal as refusal:
        print(f"parca-agent loader: {refusal}", file=sys.stderr)
        return 2
    except (BpfError, OSError) as error:
        print(f"parca-agent loader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
