# SPDX-License-Identifier: Apache-2.0
"""Certificates for a double, made when they are needed and good for two days."""

import shutil
import subprocess
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(
    OPENSSL is None, reason="openssl is not installed, so no certificate can be made"
)


def make_certificate(path: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority; paths of key and certificate."""
    key, certificate = path / f"{name}.key", path / f"{name}.pem"
    subprocess.run(
        f"{OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key}"
        f" -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return key, certificate
