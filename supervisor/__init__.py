# SPDX-License-Identifier: Apache-2.0
"""The foreground supervisor of `make run`: systemd's part on a machine without our package.

It is root and touches no profile data. It creates identities, mounts and sockets, starts each
part of the agent with the privileges that part has in production, restarts what dies, and
leaves the machine as it was.
"""
