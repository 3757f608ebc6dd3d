# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from collector.config import CollectorConfig, ConfigError, Destination, ShipConfig
from collector.config import load as load_config
from supervisor import settings
from supervisor.layout import Layout

FULL = """
node: host.example
sampling: {frequency: 99, mode: perf, window_seconds: 5, threads: true,
           unwinding: frame_pointers, unwind_memory_mib: 32}
spool: {max_bytes: 1048576, max_age_seconds: 60, min_free_bytes: 4096}
cache: {max_bytes: 2097152}
destinations:
- {name: here, address: "localhost:7070", insecure: true, bearer_token_file: /etc/token}
ignore_unsafe_kernel: true
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path


def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "run", tmp_path / "state", tmp_path / "ship")
    made.spool.mkdir(parents=True)
    return made


def test_every_setting_arrives_in_the_file_of_who_needs_it(tmp_path: Path) -> None:
    chosen = settings.load(written(tmp_path, FULL), None)
    where = layout(tmp_path)
    assert settings.loader_conf(chosen, where, 977) == (
        "frequency = 99\n"
        "mode = perf\n"
        "window_seconds = 5\n"
        "threads = 1\n"
        "unwinding = frame_pointers\n"
        "unwind_memory_mib = 32\n"
        f"pins_directory = {tmp_path}/run/bpf\n"
        "pins_group = 977\n"
        f"report = {tmp_path}/run/loader.json\n"
        "ignore_unsafe_kernel = 1\n"
    )
    path = written(tmp_path, settings.collector_yaml(chosen, where))
    assert load_config(path, CollectorConfig) == CollectorConfig(
        node="host.example",
        frequency=99,
        window_seconds=5.0,
        threads=True,
        pins_directory=f"{tmp_path}/run/bpf",
        loader_report=f"{tmp_path}/run/loader.json",
        elf_socket=f"{tmp_path}/run/elf.sock",
        tables_socket=f"{tmp_path}/run/tables.sock",
        spool_dir=f"{tmp_path}/state/spool",
        spool_max_bytes=1048576,
        spool_max_age_seconds=60,
        spool_min_free_bytes=4096,
        ship_dir=f"{tmp_path}/ship",
        cache_dir=f"{tmp_path}/state/cache",
        cache_max_bytes=2097152,
    )
    path = written(tmp_path, settings.ship_yaml(chosen, where))
    assert load_config(path, ShipConfig) == ShipConfig(
        (Destination("here", "localhost:7070", True, "", "/etc/token"),),
        f"{tmp_path}/state/spool",
        f"{tmp_path}/ship",
    )


def test_the_command_lines_frequency_wins(tmp_path: Path) -> None:
    assert settings.load(written(tmp_path, FULL), 7).sampling.frequency == 7
    assert settings.load(None, None).sampling.frequency == 19


def test_a_wrong_file_is_refused_with_the_whole_key(tmp_path: Path) -> None:
    path = written(tmp_path, "sampling: {frequency: 0, mode: tick}\nspool: 1\n")
    with pytest.raises(ConfigError) as error:
        settings.load(path, None)
    text = str(error.value)
    assert "sampling.frequency: 0 is not allowed" in text
    assert "sampling.mode: 'tick' is not allowed; auto or perf" in text
    assert "spool: must be a mapping" in text


def test_a_small_file_system_keeps_a_twentieth_free(tmp_path: Path) -> None:
    free = settings.free_bytes(tmp_path)
    assert 0 < free <= 1 << 30
