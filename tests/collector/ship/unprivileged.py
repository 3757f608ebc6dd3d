# SPDX-License-Identifier: Apache-2.0
"""Runs the shipper as nobody with empty capability sets: what the supervisor does, in one file.

Usage: unprivileged.py REPOSITORY ARGUMENT... Everything is imported before root is given up,
because a repository under a private home is out of nobody's reach.
"""

import os
import sys

sys.path.insert(0, sys.argv[1])

import google.protobuf  # noqa: F401
import grpc  # noqa: F401

from collector.sandbox import privileges, seccomp
from collector.ship import fleet, main  # noqa: F401

NOBODY = 65534

seccomp.binding()

for capability in range(64):
    privileges.libc.prctl(24, capability, 0, 0, 0)
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
sys.exit(main.main(sys.argv[2:]))
