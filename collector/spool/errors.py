# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a spool; __str__ says which file and why."""

from __future__ import annotations


class SpoolError(Exception):
    """A window that cannot be read, written or trusted."""


class SpoolFullError(SpoolError):
    """No room for another window, even after the oldest were evicted. Nothing was written."""


class SpoolUnreadableError(SpoolError):
    """A file that is refused now and may be readable later: permissions, descriptors, memory."""
