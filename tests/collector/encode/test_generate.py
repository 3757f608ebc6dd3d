# SPDX-License-Identifier: Apache-2.0
"""The committed message modules are what the .proto files say."""

from pathlib import Path

from collector.encode import generate
from collector.encode.proto import pprof_pb2, profilestore_pb2


def test_committed_modules_equal_a_fresh_run(tmp_path: Path) -> None:
    fresh = generate.generate(tmp_path)
    assert len(fresh) == 2 * len(generate.PROTOS)
    for name, text in fresh.items():
        assert (generate.ROOT / name).read_text() == text, f"{name} is stale: run the generator"


def test_files_are_registered_under_paths_of_their_own() -> None:
    for module in (pprof_pb2, profilestore_pb2):
        assert module.DESCRIPTOR.name.startswith("collector/encode/proto/")
