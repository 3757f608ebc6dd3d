# SPDX-License-Identifier: Apache-2.0
"""Programs to their events: the sampler to each CPU's clock, the rest to tracepoints."""

from __future__ import annotations

import errno

from libbpf import objects
from libbpf.errors import BpfError
from loader import privileges, recorder
from loader.config import Config
from loader.errors import Refusal
from loader.load import Loaded

NANOSECONDS = 10**9


def attach_all(
    loaded: Loaded, config: Config, cpus: list[int]
) -> tuple[dict[str, objects.Link], str]:
    """Links by the name they will be pinned under, and how perf events were obtained."""
    links = recorder.attach(loaded)  # first: at an exec the others look at what it has recorded
    links |= {
        program: loaded.objects["process"].attach(program)
        for program in loaded.objects["process"].programs()
    }
    how = "CAP_PERFMON"
    for cpu in cpus:
        fd, how = open_clock(cpu, NANOSECONDS // config.frequency)
        links[f"sample-{cpu}"] = loaded.objects[loaded.sampler].attach_perf_event("sample", fd)
    return links, how


def open_clock(cpu: int, period: int) -> tuple[int, str]:
    """A clock event of `cpu` and the capability it took.

    Debian and Ubuntu carry a patch that wants CAP_SYS_ADMIN while perf_event_paranoid is 3 or
    more; only after EACCES is it raised, around this one call.
    """
    try:
        return objects.open_perf_event(cpu, period), "CAP_PERFMON"
    except BpfError as error:
        if error.errno != errno.EACCES:
            raise Refusal(f"{error}; the kernel offers no CPU clock event") from error
    if not privileges.may_raise_sys_admin():
        raise Refusal(
            "perf_event_open wants CAP_SYS_ADMIN because kernel.perf_event_paranoid is 3 or more;"
            " grant it to the loader, or set kernel.perf_event_paranoid=2"
        )
    with privileges.sys_admin():
        return objects.open_perf_event(cpu, period), "CAP_SYS_ADMIN"
