# SPDX-License-Identifier: Apache-2.0
"""WriteRaw over gRPC: the only module that knows grpc, imported when there is somewhere to send.

The spool's payload is the request as it is, so nothing is decoded here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Name look-up by c-ares: the C library's would load further libraries into a process that
# may not. The C core's own log says nothing that an answer does not say.
os.environ.setdefault("GRPC_DNS_RESOLVER", "ares")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

# grpc would import this at its first channel, when the door is closed.
import grpc._channel

from collector.config import Destination
from collector.ship.credentials import CredentialError, certificates, token
from collector.ship.verdict import LOCAL, OK, Answer

METHOD = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw"

_OPTIONS = (
    # Only the configured server is ever connected to, whatever the environment says.
    ("grpc.enable_http_proxy", 0),
    # Retries are ours: with a deadline each, spread out, and counted.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 15_000),
    ("grpc.primary_user_agent", "parca-agent"),
)


class Transport:
    """A connection to one destination, made at the first request and remade when needed."""

    def __init__(self, destination: Destination, timeout_seconds: float) -> None:
        self._destination = destination
        self._timeout = timeout_seconds
        self._certificates = b""
        self._channel: grpc.Channel | None = None

    def write_raw(self, request: bytes) -> Answer:
        """Sends one serialized WriteRawRequest and waits for its answer, at most the timeout."""
        try:
            call: Callable[..., bytes] = self._connected().unary_unary(METHOD)
            call(request, timeout=self._timeout, metadata=self._metadata())
        except grpc.RpcError as error:
            return _answer(error)
        except CredentialError as error:
            return Answer(LOCAL, str(error))
        return Answer(OK)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """Read at every attempt: tokens are replaced while we run."""
        path = self._destination.bearer_token_file
        return (("authorization", f"Bearer {token(path)}"),) if path else ()

    def _connected(self) -> grpc.Channel:
        certificates_now = self._current_certificates()
        if self._channel is None or certificates_now != self._certificates:
            self.close()
            self._certificates = certificates_now
            self._channel = self._open()
        return self._channel

    def _current_certificates(self) -> bytes:
        destination = self._destination
        return b"" if destination.insecure else certificates(destination.ca_file)

    def _open(self) -> grpc.Channel:
        address = self._destination.address
        if self._destination.insecure:
            return grpc.insecure_channel(address, _OPTIONS)
        credentials = grpc.ssl_channel_credentials(self._certificates)
        return grpc.secure_channel(address, credentials, _OPTIONS)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _answer(error: Any) -> Answer:  # noqa: ANN401 -- grpc's errors have these methods, its types do not
    return Answer(error.code().name, error.details() or "")
