# SPDX-License-Identifier: Apache-2.0
"""The one exception of this package, and the check that raises it."""

from __future__ import annotations

import os
from typing import Any

from libbpf._libbpf import ffi, lib

_END_OF_LOG = "-- END PROG LOAD LOG --"
_SUMMARY = ("processed ", "verification time ", "stack depth ")
"""How the verifier's last lines begin, which count what it did."""


class BpfError(OSError):
    """A bpf call failed: which call, on what, with which errno, and libbpf's own words.

    `log` is empty unless a load failed; then its end is the verifier's verdict.
    """

    def __init__(self, call: str, subject: str, code: int, log: str = "") -> None:
        super().__init__(code, os.strerror(code))
        self.call = call
        self.subject = subject
        self.log = log

    @property
    def verdict(self) -> str:
        """The verifier's last line about the program; libbpf's last line where there is none."""
        lines = self.log.strip().splitlines()
        last = next((i for i, line in enumerate(lines) if _END_OF_LOG in line), len(lines))
        verdict = (line for line in reversed(lines[:last]) if not line.startswith(_SUMMARY))
        return next(verdict, "")

    def __str__(self) -> str:
        text = f"{self.call} {self.subject}: {self.strerror} (errno {self.errno})"
        return f"{text}; {self.verdict}" if self.verdict else text


def text_of(pointer: Any) -> str:
    """A C string as str; foreign bytes are replaced, NULL is the empty string."""
    if pointer == ffi.NULL:
        return ""
    return bytes(ffi.string(pointer)).decode(errors="replace")


def check(result: int, call: str, subject: str, *, log: bool = False) -> int:
    """`result` if it is not negative; BpfError otherwise.

    libbpf 1.x answers -1 or -errno and sets errno in both cases.
    """
    if result >= 0:
        return result
    raise BpfError(call, subject, ffi.errno or -result, text_of(lib.pa_log()) if log else "")
