# SPDX-License-Identifier: Apache-2.0
"""Certificates and tokens, read from files when they are needed and never kept elsewhere."""

from __future__ import annotations

from pathlib import Path

# Where distributions keep the certificates the host trusts; grpc's own list is not used.
SYSTEM_CERTIFICATES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)
_MAX_CERTIFICATES = 4 << 20
_MAX_TOKEN = 16 << 10


class CredentialError(Exception):
    """A file that should hold a credential does not; never says what it holds."""


def certificates(ca_file: str) -> bytes:
    """PEM of the authorities to trust: those of ca_file, else the host's."""
    candidates = (Path(ca_file),) if ca_file else SYSTEM_CERTIFICATES
    for path in candidates:
        if ca_file or path.exists():
            return _read(path, _MAX_CERTIFICATES)
    raise CredentialError("the host has no list of certificate authorities; set ca_file")


def token(path: str) -> str:
    """The bearer token in a file, without the white space around it."""
    try:
        text = _read(Path(path), _MAX_TOKEN).decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not all("!" <= character <= "~" for character in text):
        raise CredentialError(f"{path}: not a token in printable ASCII")
    return text


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CredentialError(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise CredentialError(f"{path}: more than {limit} bytes")
    return data
