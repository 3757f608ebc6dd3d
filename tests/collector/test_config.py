# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import schema
from collector.config import CollectorConfig, ConfigError, Destination, ShipConfig, load


def write(directory: Path, text: str) -> Path:
    path = directory / "agent.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""), CollectorConfig)
    assert config == CollectorConfig()
    assert (config.frequency, config.window_seconds, config.threads) == (19, 10.0, False)


def test_given_values_are_taken(tmp_path: Path) -> None:
    config = load(
        write(tmp_path, "frequency: 99\nwindow_seconds: 5\nnode: a.example\nthreads: true\n"),
        CollectorConfig,
    )
    assert (config.frequency, config.window_seconds, config.node) == (99, 5.0, "a.example")
    assert isinstance(config.window_seconds, float)
    assert config.threads


def test_all_errors_are_reported_at_once_with_file_key_and_what_is_allowed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "frequency: 0\nwindow_seconds: often\nthreads: 1\nspool_dir: spool\nhertz: 19\n",
    )
    with pytest.raises(ConfigError) as error:
        load(path, CollectorConfig)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"{path}: ") for line in lines)
    text = str(error.value)
    assert "frequency: 0 is not allowed; a whole number from 1 to 100000" in text
    assert "window_seconds: 'often' is not allowed; a number from 1 to 600" in text
    assert "threads: 1 is not allowed; true or false" in text
    assert "spool_dir: 'spool' is not allowed; an absolute path" in text
    assert "'hertz': unknown key; allowed are cache_dir, cache_max_bytes, elf_socket," in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("frequency: yes", "frequency: True is not allowed"),
        ("window_seconds: .nan", "window_seconds: nan is not allowed"),
        ("frequency: 19\nfrequency: 99", "is given twice"),
        ("- 1", "the document: must be a mapping"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.getpid []", "is not YAML"),
        ("frequency: {a: 1}", "frequency: a mapping is not allowed"),
        ('node: "a\\nb"', "node: 'a\\nb' is not allowed"),
        ("node: '" + "x" * 300 + "'", "..."),
    ],
)
def test_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text), CollectorConfig)
    assert reason in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_missing_file_and_a_huge_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml", CollectorConfig)
    huge = write(tmp_path, "#" * (schema.FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(huge, CollectorConfig)


def test_destinations(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "destinations:\n"
        "- {name: one, address: 'parca.example:7070', insecure: true}\n"
        "- {name: two, address: '[2001:db8::1]:443', ca_file: /etc/ca.pem}\n",
    )
    assert load(path, ShipConfig).destinations == (
        Destination("one", "parca.example:7070", insecure=True),
        Destination("two", "[2001:db8::1]:443", ca_file="/etc/ca.pem"),
    )


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("{address: 'a:1'}", "destinations[0].name: is missing"),
        ("{name: A/b, address: 'a:1'}", "lower-case letters, digits and -"),
        ("{name: a, address: 'http://a:1'}", "host:port"),
        ("{name: a, address: 'a:0'}", "a port is a number from 1 to 65535"),
        ("{name: a, address: 'a:1', insecure: true, ca_file: /x}", "ca_file has no use"),
        ("{name: a, address: 'a:1'}, {name: a, address: 'b:1'}", "given twice"),
        ("{name: a, address: 'a:1', token: secret}", "'token': unknown key"),
        ("seven", "destinations[0]: must be a mapping"),
    ],
)
def test_refused_destinations(tmp_path: Path, entry: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, f"destinations: [{entry}]\n"), ShipConfig)
    assert reason in str(error.value)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_give_a_config_or_a_config_error(text: bytes) -> None:
    for kind in (CollectorConfig, ShipConfig):
        with contextlib.suppress(ConfigError):
            assert isinstance(schema.parse(text, kind, "agent.yaml"), kind)
