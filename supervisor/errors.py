# SPDX-License-Identifier: Apache-2.0
"""How the supervisor says no."""

from __future__ import annotations


class RefusalError(Exception):
    """This machine or this request cannot be served: exit status 2, and nothing is left behind.

    sentence says what is wrong, remedy what to do about it; each is one line.
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence = sentence
        self.remedy = remedy


class FailureError(Exception):
    """Something broke while running: exit status 1."""
