# SPDX-License-Identifier: Apache-2.0
"""Credential files, good and bad; no message ever shows what was in one."""

import pytest

from collector.ship import credentials
from collector.ship.credentials import CredentialError


def test_a_token_is_read_without_white_space(tmp_path):
    (tmp_path / "token").write_bytes(b"  s3cret\n")
    assert credentials.token(str(tmp_path / "token")) == "s3cret"


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"s3cret two", b"s3cret\r\nx: y", b"s3cret\xff", b"s3cret" * 9999]
)
def test_what_is_no_token_is_refused_without_showing_it(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(CredentialError) as error:
        credentials.token(str(tmp_path / "token"))
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path):
    for read in (credentials.token, credentials.certificates):
        with pytest.raises(CredentialError, match=r"absent: No such file"):
            read(str(tmp_path / "absent"))


def test_the_hosts_certificates_are_the_default(tmp_path, monkeypatch):
    (tmp_path / "second").write_bytes(b"pem")
    paths = (tmp_path / "first", tmp_path / "second")
    monkeypatch.setattr(credentials, "SYSTEM_CERTIFICATES", paths)
    assert credentials.certificates("") == b"pem"
    monkeypatch.setattr(credentials, "SYSTEM_CERTIFICATES", paths[:1])
    with pytest.raises(CredentialError, match="set ca_file"):
        credentials.certificates("")
