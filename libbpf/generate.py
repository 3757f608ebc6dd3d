# SPDX-License-Identifier: Apache-2.0
"""Writes libbpf/_libbpf.c from libbpf.cdef.h, bpf/abi.h and libbpf.csrc.c.

The result is committed; a test regenerates it and compares. Run: python -m libbpf.generate
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "_libbpf.c"

# abi.h uses the kernel's names for sized integers; cffi wants to hear what they are.
KERNEL_TYPES = """
typedef unsigned char __u8; typedef short __s16; typedef unsigned short __u16;
typedef int __s32; typedef unsigned int __u32; typedef unsigned long long __u64;
"""


def builder() -> FFI:
    """The FFI that declares the binding, ready to emit C."""
    ffi = FFI()
    ffi.cdef((HERE / "libbpf.cdef.h").read_text())
    ffi.cdef(KERNEL_TYPES + (HERE.parent / "bpf" / "abi.h").read_text())
    ffi.set_source(
        "libbpf._libbpf",
        "/* made by libbpf/generate.py; change libbpf.cdef.h or libbpf.csrc.c instead */\n"
        '#include "libbpf.csrc.c"\n',
        py_limited_api=True,
    )
    return ffi


def main() -> None:
    builder().emit_c_code(str(OUTPUT))


if __name__ == "__main__":
    main()
