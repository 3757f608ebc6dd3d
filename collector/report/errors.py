# SPDX-License-Identifier: Apache-2.0
"""What the parsers of this package raise."""

from __future__ import annotations


class ReportError(Exception):
    """A window that is not what the encoder writes."""
