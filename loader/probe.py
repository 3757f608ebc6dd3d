# SPDX-License-Identifier: Apache-2.0
"""What this kernel can do: asked by trying, with a sentence and a remedy where it cannot."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import prctl

from libbpf import iterators, memory
from libbpf._libbpf import ffi
from libbpf.errors import BpfError
from loader.errors import Refusal

BTF = "/sys/kernel/btf/vmlinux"
MOST_UNWIND_MEMORY = 64 << 20
NEEDS = "parca-agent needs linux 6.1 or newer with BTF, as in Debian 12"


def check_kernel(*, ignore_unsafe: bool) -> None:
    """Refuses what loading would meet with an unclear error or, once, with a dead machine."""
    if not os.path.exists(BTF):
        raise Refusal(f"this kernel has no BTF ({BTF}); boot one built with"
                      f" CONFIG_DEBUG_INFO_BTF=y: {NEEDS}")  # fmt: skip
    release = os.uname().release
    if locks_up(release) and not ignore_unsafe:
        raise Refusal(
            f"linux {release} can lock up the machine when a profiler reads user memory in an"
            " interrupt (fixed in 6.1); boot 6.1 or newer, or set ignore_unsafe_kernel = 1 at your"
            " own risk"
        )
    require_symbol_iterator(BTF)


def require_symbol_iterator(btf: str) -> None:
    """Iterators over kernel symbols: linux 6.0. `btf` names each iterator's function, if there.

    Kernels that lack it would refuse the loads with less telling errors: 5.10 charges maps to
    RLIMIT_MEMLOCK, and answers EPERM.
    """
    with open(btf, "rb") as file:
        if b"\0bpf_iter_ksym\0" not in file.read():
            raise Refusal(
                f"linux {os.uname().release} has no BPF iterator over its symbols; {NEEDS}"
            )


def locks_up(release: str) -> bool:
    """5.19 to 6.0: bpf_probe_read_user in a perf interrupt may spin on a lock its victim holds.

    Asking the kernel would mean locking it up, so this one is told by its number.
    """
    numbers = []
    for part in release.split(".")[:2]:
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        numbers.append(int(digits or 0))
    return (5, 19) <= tuple(numbers) < (6, 1)


def explain_load(error: BpfError) -> Refusal:
    """The sentence for an object that the kernel refused."""
    reasons = {
        errno.ENOSYS: "this kernel is built without bpf(2) (CONFIG_BPF_SYSCALL)",
        errno.EPERM: "the kernel refuses bpf(2) to a holder of CAP_BPF and CAP_PERFMON; a container"
        " or a security module may forbid it",
        errno.ESRCH: "this kernel lacks a type or iterator the programs need",
    }
    reason = reasons.get(error.errno or 0, "the kernel refused a BPF program")
    return Refusal(f"{reason}: {error}; {NEEDS}")


def require_thread_iterators(program: int) -> None:
    """Iterators of one thread: linux 6.1 (f0d74c4da1f0). Tried on the loader itself."""
    try:
        output = iterators.read(program, "task", tid=os.getpid())
    except BpfError as error:
        raise Refusal(
            f"this kernel cannot walk the memory of one process: {error}; {NEEDS}"
        ) from error
    if not output:
        raise Refusal(f"this kernel's iterators answer nothing for one process; {NEEDS}")


def memory_refusal(task: int, program: int, requests: int) -> str:
    """Why the collector must not get `read_memory`; empty where it can be trusted.

    Kernels differ in where they keep what PR_SET_DUMPABLE sets, so the program is tried on the
    loader itself, which stays undumpable.
    """
    try:
        who = _myself(task)
        prctl.set_dumpable(1)
        readable = [at for at in _own_code() if _status(program, requests, who, at) == memory.READ]
        prctl.set_dumpable(0)
        denials = {memory.DENIALS.get(_status(program, requests, who, at)) for at in readable}
    except OSError as error:  # BpfError is one
        return f"reading the loader's own memory: {error}"
    if denials != {"not_dumpable"}:
        return "this kernel does not show where it keeps which processes are closed to debuggers"
    return ""


def _myself(task: int) -> memory.Program:
    raw = iterators.read(task, "task", tid=os.getpid())
    record = ffi.new("struct task_record *")
    ffi.memmove(record, raw, min(len(raw), ffi.sizeof("struct task_record")))
    return memory.Program(record.tgid, record.start_time, record.exec_id)


def _own_code() -> Iterator[tuple[int, int]]:
    """Start of each executable mapping, and where its file would begin."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            addresses, access, offset, *_ = line.split()
            start = int(addresses.split("-")[0], 16)
            if access == "r-xp" and start >= int(offset, 16):
                yield start, start - int(offset, 16)


def _status(program: int, requests: int, who: memory.Program, at: tuple[int, int]) -> int:
    start, header = at
    return memory.ask(program, requests, who, memory.Part(start, header, start, 1)).status


def unwind_memory() -> int:
    """Bytes for unwind tables where nobody chose: 64 MiB, or a 64th of a small machine's memory."""
    with open("/proc/meminfo", encoding="ascii") as file:
        total = next(int(line.split()[1]) for line in file if line.startswith("MemTotal:"))
    return min(MOST_UNWIND_MEMORY, total * 1024 // 64)


def online_cpus() -> list[int]:
    """Numbers of the online CPUs; the kernel writes them as ranges such as 0-3,8."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for span in ranges for cpu in range(int(span[0]), int(span[-1]) + 1)]
