# SPDX-License-Identifier: Apache-2.0
"""Generations of pins: fill gen-N-new, publish by rename, remove what came before.

The boundary is this table: what is pinned, and with which mode for whom. Anything not named
here stays with root's programs alone. bpffs refuses names with a dot.
"""

from __future__ import annotations

import os
import stat

from libbpf import objects
from loader.errors import Refusal
from loader.load import Loaded

NEW = "-new"
READ_WRITE = 0o660  # the collector looks up, updates, empties
READ_ONLY = 0o440  # the collector looks up, or makes iterators of it
ROOT_ONLY = 0o600

MAPS = {
    "active_set": READ_WRITE,
    "control": READ_WRITE,
    "counters": READ_ONLY,
    "ended_ranges": READ_WRITE,
    "events": READ_WRITE,
    "executables": READ_WRITE,
    "file_tables": READ_WRITE,
    "memory_request": READ_WRITE,
    "samples_0": READ_WRITE,
    "samples_1": READ_WRITE,
    "set_0": READ_ONLY,
    "set_1": READ_ONLY,
    "stacks_0": READ_WRITE,
    "stacks_1": READ_WRITE,
    "unwind_chunks": READ_WRITE,
}
ITERATORS = {  # program -> its object
    "task_vma": "iterators",
    "task": "iterators",
    "ksym": "iterators",
    "read_memory": "memory",
}


def verify_directory(path: str) -> None:
    """Refuses a pin directory that is not ours: a bpffs mounted there, root's, closed to others."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise Refusal(
            f"{path}: {error.strerror}; mount a bpffs of the agent's own there"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Refusal(f"{path} belongs to uid {status.st_uid}: somebody else's pin directory is not"
                      " used; remove it and start again")  # fmt: skip
    if status.st_mode & 0o027:
        raise Refusal(
            f"{path} is open to others (mode {status.st_mode & 0o777:o}); it must be 0750"
        )
    if not is_bpffs(path):
        raise Refusal(f"{path} is no bpffs; mount one: mount -t bpf -o mode=0750 bpf {path}")


def is_bpffs(path: str) -> bool:
    """Whether a bpffs is what is mounted last on `path`. Fields as in proc(5), mountinfo."""
    kind = ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[4] == path:
                kind = fields[fields.index("-") + 1]
    return kind == "bpf"


def generations(directory: str) -> list[int]:
    """Numbers of the published generations, oldest first."""
    names = (name.removeprefix("gen-") for name in os.listdir(directory) if name.startswith("gen-"))
    return sorted(int(name) for name in names if name.isdigit())


def remove(path: str) -> None:
    """Unpins a generation; attached links with no other holder end here."""
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    os.rmdir(path)


def clean(directory: str) -> int:
    """Removes generations a killed loader left unpublished; the number for the next one."""
    for name in os.listdir(directory):
        if name.endswith(NEW):
            remove(f"{directory}/{name}")
    return max(generations(directory), default=0) + 1


def pin_generation(
    directory: str, number: int, loaded: Loaded, links: dict[str, objects.Link], group: int
) -> None:
    """Pins everything under gen-N-new with its mode and group, then publishes it as gen-N."""
    building = f"{directory}/gen-{number}{NEW}"
    os.mkdir(building, 0o700)
    for name, mode in MAPS.items():
        _pin(loaded.maps[name], f"{building}/{name}", mode, group)
    for name, item in ITERATORS.items():
        if item not in loaded.missing:
            _pin(loaded.objects[item].program_fd(name), f"{building}/{name}", READ_ONLY, group)
    for name, link in links.items():
        _pin(link.fd, f"{building}/{name}", ROOT_ONLY, None)
    os.chown(building, -1, group)
    os.chmod(building, 0o750)
    os.rename(building, f"{directory}/gen-{number}")


def retire_before(directory: str, number: int) -> None:
    for older in generations(directory):
        if older < number:
            remove(f"{directory}/gen-{older}")


def _pin(fd: int, path: str, mode: int, group: int | None) -> None:
    objects.pin(fd, path)
    if group is not None:
        os.chown(path, -1, group)
    os.chmod(path, mode)
