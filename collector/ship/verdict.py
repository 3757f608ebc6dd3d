# SPDX-License-Identifier: Apache-2.0
"""What an answer of the server means for the window that was sent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """ACCEPTED: settled. PARKED: settled too, the server will never take it. RETRY: again."""

    ACCEPTED = "accepted"
    PARKED = "parked"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Answer:
    """A gRPC status by name, such as "UNAVAILABLE", and the server's words, if any.

    LOCAL, no gRPC status, stands for what stopped a request before it left.
    """

    code: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.details}" if self.details else self.code


OK = "OK"
LOCAL = "LOCAL"

# The request itself is at fault and will be tomorrow.
_REFUSED = {"INVALID_ARGUMENT", "OUT_OF_RANGE"}

# Says the same when it is overloaded, but then without this reason.
_TOO_LARGE = "larger than max"

# May mean either "this window breaks me" or "I am broken": a few tries tell.
_AMBIGUOUS = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
MAX_AMBIGUOUS_ATTEMPTS = 5


def judge(answer: Answer, attempts: int) -> Verdict:
    """The verdict on attempt number `attempts`, counted from 1, at one window.

    Whatever is about the server, the way there, or our credentials is worth every wait:
    the spool keeps the window, and one that cannot be delivered must not be thrown away.
    """
    if answer.code == OK:
        return Verdict.ACCEPTED
    too_large = answer.code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in answer.details
    if answer.code in _REFUSED or too_large:
        return Verdict.PARKED
    if answer.code in _AMBIGUOUS and attempts >= MAX_AMBIGUOUS_ATTEMPTS:
        return Verdict.PARKED
    return Verdict.RETRY
