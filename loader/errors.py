# SPDX-License-Identifier: Apache-2.0
"""How the loader refuses."""

from __future__ import annotations


class Refusal(Exception):
    """The loader cannot or will not go on: one sentence with the remedy. Exit status 2."""
