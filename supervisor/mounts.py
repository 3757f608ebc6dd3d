# SPDX-License-Identifier: Apache-2.0
"""The private bpffs and the read-only view of the built agent; and getting rid of both."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
from pathlib import Path

from supervisor.errors import FailureError

UNMOUNTS = 64
"""More layers than this on one directory is nobody's accident; stop rather than spin."""


def mount_pins(directory: Path, gid: int) -> None:
    """An empty bpffs, root's, that `gid` may enter.

    The owner is set afterwards, because the kernel ignored uid= and gid= for a long time.
    """
    _mount("-t", "bpf", "-o", "nosuid,nodev,noexec,mode=0750", "parca-agent", str(directory))
    os.chown(directory, 0, gid)
    directory.chmod(0o750)


def mount_stage(stage: Path, directory: Path) -> None:
    """The built agent, read-only, where every user of the agent can reach it."""
    _mount("--bind", str(stage), str(directory))
    _mount("-o", "remount,bind,ro,nosuid,nodev", str(directory))


def mounted_under(directory: Path, mountinfo: str | None = None) -> list[Path]:
    """Mount points at or below directory, the newest first. mountinfo as in proc(5)."""
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    points = [Path(_unescape(line.split()[4])) for line in text.splitlines() if line]
    return [one for one in reversed(points) if one == directory or directory in one.parents]


def stop_sampling(pins: Path) -> None:
    """Unpin the links and sampling programs: those that are 0600, for root alone.

    The last reference to a link is its pin, so the kernel stops sampling here and now, while
    the collector can still read what the maps hold.
    """
    for path in _files(pins):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(path.lstat().st_mode) == 0o600:
                path.unlink()


def remove_pins(pins: Path) -> None:
    """Unpin everything; a lazily unmounted bpffs would keep it alive."""
    for path in _files(pins):
        path.unlink(missing_ok=True)


def unmount_under(directory: Path) -> None:
    """Unmount all that is mounted at or below directory, lazily where it is still in use."""
    for _ in range(UNMOUNTS):
        points = mounted_under(directory)
        if not points:
            return
        if subprocess.run(["umount", points[0]], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "--lazy", points[0]], capture_output=True, check=False)
    raise FailureError(f"{directory} stays mounted: unmount what lies under it by hand.")


def _files(pins: Path) -> list[Path]:
    """All pins. A name with a dot is the kernel's own (maps.debug), and cannot be removed."""
    if not pins.is_mount():
        return []
    tree = os.walk(pins, topdown=False)
    return [Path(parent, name) for parent, _, names in tree for name in names if "." not in name]


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FailureError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
