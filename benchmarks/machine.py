# SPDX-License-Identifier: Apache-2.0
"""On what was measured: enough to judge a number, nothing that names the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from libbpf import abi


def describe() -> dict[str, object]:
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cpus_online": os.sysconf("SC_NPROCESSORS_ONLN"),
        "virtual": "hypervisor" in _first("/proc/cpuinfo", "flags").split(),
        "memory_mib": int(_first("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "kernel": ".".join(os.uname().release.split("-")[0].split(".")[:2]),
        "architecture": os.uname().machine,
        "python": platform.python_version(),
        "objects_sha256": abi.object_hashes(),
    }


def _first(path: str, key: str) -> str:
    """The value of the first `key : value` line, empty when there is none."""
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == key:
            return value.strip()
    return ""
