# SPDX-License-Identifier: Apache-2.0
"""The agent's users and groups, created when absent.

Nobody is a member of a supplementary group: who gets one is said where a process is started.
"""

from __future__ import annotations

import grp
import pwd
import subprocess
from dataclasses import dataclass

from supervisor.errors import RefusalError
from supervisor.layout import GROUPS, USERS


@dataclass(frozen=True, slots=True)
class Accounts:
    """Names to numbers, and what this start had to create."""

    users: dict[str, int]
    groups: dict[str, int]
    created_users: tuple[str, ...]
    created_groups: tuple[str, ...]


def ensure(users: tuple[str, ...] = USERS, groups: tuple[str, ...] = GROUPS) -> Accounts:
    """Create what is missing; each user gets a group of its own name.

    RefusalError when a name is taken by somebody who must not have it.
    """
    group_names = (*users, *groups)
    new_groups = tuple(name for name in group_names if not _has_group(name))
    new_users = tuple(name for name in users if not _has_user(name))
    for name in new_groups:
        _run("groupadd", "--system", name)
    for name in new_users:
        _run(
            *("useradd", "--system", "--gid", name, "--no-create-home"),
            *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name),
        )
    accounts = Accounts(
        {name: pwd.getpwnam(name).pw_uid for name in users},
        {name: grp.getgrnam(name).gr_gid for name in group_names},
        new_users,
        new_groups,
    )
    for name, number in {**accounts.users, **accounts.groups}.items():
        if number == 0:
            raise RefusalError(
                f"The account {name} has the number of root.", "Remove or rename it."
            )
    return accounts


def remove_created(accounts: Accounts) -> None:
    """Take back what `ensure` created; for a start that was refused."""
    for name in accounts.created_users:
        _run("userdel", name)
    for name in accounts.created_groups:
        if _has_group(name):
            _run("groupdel", name)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusalError(
            f"{command[0]} could not change the account {command[-1]}: {done.stderr.strip()}",
            "Is /etc writable?",
        )
