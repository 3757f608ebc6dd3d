# SPDX-License-Identifier: Apache-2.0
"""Directories and small files that root makes for the agent."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from supervisor.accounts import Accounts
from supervisor.errors import RefusalError
from supervisor.layout import COLLECTOR, SHIPPER, SPOOL, Layout

RUN_FILES = 64
"""More entries than this in the run directory are not ours to remove."""


def lock(run: Path) -> int:
    """A descriptor of the run directory, locked as long as it is open; makes the directory.

    RefusalError when another supervisor holds it.
    """
    while True:
        make(run, 0, 0, 0o755)
        descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RefusalError(
                f"Another supervisor is running (it holds {run}).", "Stop that one first."
            ) from None
        # The one before us may have removed the directory between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), run.stat()):
                return descriptor
        os.close(descriptor)


def make(path: Path, uid: int, gid: int, mode: int) -> bool:
    """A directory with exactly this owner and mode; True when it was not there before.

    RefusalError when something else has the name, or somebody else owns it.
    """
    created = False
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        created = True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise RefusalError(f"{path} is not a directory ({error.strerror}).", "Remove it.") from None
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (0, uid):
            raise RefusalError(f"{path} belongs to uid {owner}.", f"chown it to uid {uid}.")
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return created


def make_state(layout: Layout, accounts: Accounts) -> list[Path]:
    """The spool, the collector's cache and the shipper's directory; returns those that were not
    there before."""
    spool = accounts.groups[SPOOL]
    wanted = (
        (layout.state, 0, 0, 0o755),
        (layout.spool, accounts.users[COLLECTOR], spool, 0o2750),
        (layout.cache, accounts.users[COLLECTOR], accounts.groups[COLLECTOR], 0o700),
        (layout.ship, accounts.users[SHIPPER], spool, 0o2750),
    )
    return [path for path, uid, gid, mode in wanted if make(path, uid, gid, mode)]


def write(path: Path, text: str) -> None:
    """A root-owned file that everybody may read, complete or not there at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)
        file.write(text)
    new.rename(path)


def clear_run(run: Path, *, remove: bool) -> None:
    """Empty the run directory, whose mounts are gone already, and remove it if asked."""
    with contextlib.suppress(FileNotFoundError):
        entries = sorted(run.iterdir())
        if len(entries) > RUN_FILES:
            raise RefusalError(f"{run} holds {len(entries)} entries.", "Look what they are.")
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                entry.rmdir()
            else:
                entry.unlink()
        if remove:
            run.rmdir()
