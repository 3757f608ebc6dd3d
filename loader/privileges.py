# SPDX-License-Identifier: Apache-2.0
"""Capabilities: shed all but three at once, hold CAP_SYS_ADMIN for one call, end with none.

What the loader was started with is decided by systemd or the supervisor. This module only takes
away, and refuses to go on where it cannot. python-prctl knows no ambient set, but that one is
emptied with the inheritable set (kernel/capability.c keeps ambient a subset of it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import prctl

from loader.errors import Refusal

WORKING = (prctl.CAP_BPF, prctl.CAP_PERFMON)
ALLOWED = (*WORKING, prctl.CAP_SYS_ADMIN)
NAMES = {
    prctl.CAP_BPF: "CAP_BPF",
    prctl.CAP_PERFMON: "CAP_PERFMON",
    prctl.CAP_SYS_ADMIN: "CAP_SYS_ADMIN",
}


def sets() -> dict[str, int]:
    """The five capability sets of this process as masks, from /proc/self/status."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return {
            key: int(value, 16)
            for key, value in (line.split(":", 1) for line in file)
            if key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        }


def mask(capabilities: tuple[int, ...]) -> int:
    return sum(1 << capability for capability in capabilities)


def shed() -> None:
    """First act: no new privileges, at most three in the bounding set, two in effect."""
    prctl.set_no_new_privs(1)
    for capability in prctl.ALL_CAPS:
        if capability not in ALLOWED and sets()["CapBnd"] >> capability & 1:
            _drop_from_bounding_set(capability)
    prctl.cap_inheritable.limit()
    prctl.cap_effective.limit(*WORKING)
    prctl.cap_permitted.limit(*ALLOWED)
    held = sets()
    if held["CapBnd"] & ~mask(ALLOWED):
        raise Refusal("the bounding set holds more than the loader's three capabilities; start it"
                      " by its unit or by `make run`, which limit it first")  # fmt: skip
    missing = [NAMES[c] for c in WORKING if not held["CapEff"] >> c & 1]
    if missing:
        raise Refusal(
            f"{' and '.join(missing)} is missing; start the loader by its unit or as root"
        )


def _drop_from_bounding_set(capability: int) -> None:
    try:
        prctl.capbset.drop(capability)
    except OSError:
        raise Refusal(
            "the bounding set holds more than CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN, and there is"
            " no CAP_SETPCAP to shed the rest; start the loader by its unit or by `make run`"
        ) from None


def may_raise_sys_admin() -> bool:
    return bool(sets()["CapPrm"] >> prctl.CAP_SYS_ADMIN & 1)


@contextmanager
def sys_admin() -> Iterator[None]:
    """CAP_SYS_ADMIN in effect for the one call in the block."""
    prctl.cap_effective.sys_admin = True
    try:
        yield
    finally:
        prctl.cap_effective.sys_admin = False


def drop_all() -> None:
    """Last act: nothing left in any set that a later exec or thread could use."""
    prctl.cap_effective.limit()
    prctl.cap_permitted.limit()
    held = sets()
    if held["CapEff"] | held["CapPrm"] | held["CapInh"] | held["CapAmb"]:
        raise Refusal(f"capabilities are left after dropping them all (uid {os.getuid()})")
