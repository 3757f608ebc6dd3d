# SPDX-License-Identifier: Apache-2.0
"""Writes the C header that carries the compiled BPF objects into the extension module.

usage: embed.py ABI_HEADER OUTPUT NAME=OBJECT...

The header holds each object's bytes and SHA-256, and the SHA-256 of the shared ABI header.
Standard library only: it runs in the build with the system's python3.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def c_array(name: str, data: bytes) -> str:
    rows = (data[i : i + 20] for i in range(0, len(data), 20))
    body = "\n".join("\t" + "".join(f"{byte}," for byte in row) for row in rows)
    return f"static const unsigned char {name}[] __attribute__((aligned(8))) = {{\n{body}\n}};\n"


def header(abi: bytes, objects: dict[str, bytes]) -> str:
    """The whole header as text; objects in the order given, which is the order of loading."""
    parts = ["/* made by libbpf/embed.py */\n#include <stddef.h>\n"]
    parts += [c_array(f"object_{name}", data) for name, data in objects.items()]
    parts.append(
        "static const struct embedded {\n"
        "\tconst char *name;\n\tconst unsigned char *bytes;\n"
        "\tsize_t size;\n\tconst char *sha256;\n} objects[] = {\n"
    )
    parts += [
        f'\t{{ "{name}", object_{name}, sizeof(object_{name}),\n'
        f'\t  "{hashlib.sha256(data).hexdigest()}" }},\n'
        for name, data in objects.items()
    ]
    parts.append("\t{ NULL, NULL, 0, NULL },\n};\n")
    parts.append(f'static const char abi_sha256[] = "{hashlib.sha256(abi).hexdigest()}";\n')
    return "".join(parts)


def main(arguments: list[str]) -> None:
    abi, output, *named = arguments
    objects = {name: Path(path).read_bytes() for name, path in (n.split("=", 1) for n in named)}
    Path(output).write_text(header(Path(abi).read_bytes(), objects))


if __name__ == "__main__":
    main(sys.argv[1:])
