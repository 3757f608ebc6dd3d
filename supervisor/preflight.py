# SPDX-License-Identifier: Apache-2.0
"""What must hold before anything is created. What only a load can tell, the loader checks.

Features are asked for, kernel versions are never compared.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from supervisor.errors import RefusalError

CAPABILITIES = {
    0: "CAP_CHOWN",
    1: "CAP_DAC_OVERRIDE",
    5: "CAP_KILL",
    6: "CAP_SETGID",
    7: "CAP_SETUID",
    8: "CAP_SETPCAP",
    21: "CAP_SYS_ADMIN",
    38: "CAP_PERFMON",
    39: "CAP_BPF",
}
"""What it takes to mount, to change identities and to hand the loader its three."""

TOOLS = {
    "setpriv": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "groupadd": "passwd",
    "useradd": "passwd",
}
"""Command to the package that brings it."""

PYTHON = Path("/usr/bin/python3")


def check(stage: Path) -> None:
    """RefusalError with the first thing that is missing; changes nothing."""
    check_privileges(Path("/proc/self/status").read_text(), os.geteuid())
    check_kernel(Path("/"))
    check_tools()
    check_stage(stage)


def check_privileges(status: str, uid: int) -> None:
    """status is the text of /proc/self/status."""
    if uid != 0:
        raise RefusalError(
            "The supervisor needs root to mount and to start each part under its own identity.",
            "Run it with sudo.",
        )
    held = next(int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    missing = [name for number, name in CAPABILITIES.items() if not held >> number & 1]
    if missing:
        raise RefusalError(
            f"This root lacks {', '.join(missing)}, as in an unprivileged container.",
            "Run it on the host itself, or start the container with these capabilities.",
        )


def check_kernel(root: Path) -> None:
    """root is "/", or a directory that holds sys and proc as a kernel would show them."""
    if not (root / "sys/kernel/btf/vmlinux").exists():
        raise RefusalError(
            "The kernel shows no type information (/sys/kernel/btf/vmlinux is missing).",
            "Use a kernel built with CONFIG_DEBUG_INFO_BTF=y and mount sysfs.",
        )
    file_systems = (root / "proc/filesystems").read_text().split()
    if "bpf" not in file_systems:
        raise RefusalError(
            "The kernel has no BPF (no bpf file system in /proc/filesystems).",
            "Use a kernel built with CONFIG_BPF_SYSCALL=y.",
        )


def check_tools() -> None:
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[name] for name in missing}))
        raise RefusalError(
            f"The command {missing[0]} is missing.", f"Install it: apt-get install {packages}."
        )
    if not os.access(PYTHON, os.X_OK):
        raise RefusalError(f"{PYTHON} is missing.", "Install it: apt-get install python3.")


def check_stage(stage: Path) -> None:
    """stage holds the loader's and the collector's private directories, readable by all."""
    for role in ("loader", "collector"):
        main = stage / role / "__main__.py"
        try:
            mode = main.stat().st_mode
        except OSError:
            raise RefusalError(
                f"{main} is missing.", "Build the agent first: make build."
            ) from None
        if not mode & stat.S_IROTH:
            raise RefusalError(
                f"{main} is not readable by the agent's users.", "Build it again with umask 022."
            )
