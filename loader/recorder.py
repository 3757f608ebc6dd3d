# SPDX-License-Identifier: Apache-2.0
"""What records executable mappings: the best that this kernel lets in.

`mappings` sees each mapping as it is made, through a trampoline; some kernels are built without
them, some are told to refuse them. `faults` sees where code is run for the first time. Without
either, ranges come from the collector's walks alone.
"""

from __future__ import annotations

from libbpf.errors import BpfError
from libbpf.objects import Link
from loader.load import Loaded, opened

RECORDERS = ("mappings", "faults")


def attach(loaded: Loaded) -> dict[str, Link]:
    """Loads and attaches the first of RECORDERS that goes; its links by name."""
    for name in RECORDERS:
        item = opened(name, loaded.constants)
        if not loaded.try_add(item):
            continue
        try:
            return {program: item.attach(program) for program in item.programs()}
        except BpfError as error:
            del loaded.objects[name]
            loaded.missing[name] = str(error)
    return {}


def describe(loaded: Loaded) -> dict[str, str]:
    """For the report: which object it is, empty if none, and what the kernel said to the others."""
    refused = (f"{name}: {loaded.missing[name]}" for name in RECORDERS if name in loaded.missing)
    return {
        "object": next((name for name in RECORDERS if name in loaded.objects), ""),
        "refused": "; ".join(refused),
    }
