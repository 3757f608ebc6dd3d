# SPDX-License-Identifier: Apache-2.0
"""Wrong use ends before anything is opened, with one sentence."""

import pytest

from collector.ship.main import main


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--config"],
        ["--confg", "x"],
        ["--config", ""],
        ["--config", "x", "--poll-seconds", "y"],
    ],
)
def test_bad_use(argv, capsys):
    assert main(argv) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_bad_config_names_file_and_key(tmp_path, capsys):
    path = tmp_path / "ship.yaml"
    assert main(["--config", str(path)]) == 2
    path.write_text("destination: []\n")
    assert main(["--config", str(path)]) == 2
    missing, unknown = capsys.readouterr().err.strip().split("parca-agent ship: ")[1:]
    assert "ship.yaml" in missing
    assert "ship.yaml" in unknown
    assert "destination" in unknown
