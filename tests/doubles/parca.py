# SPDX-License-Identifier: Apache-2.0
"""A Parca that takes WriteRaw over a real socket, answers questions and fails on demand.

    with Parca() as parca:
        ... ship to parca.address ...
        assert parca.sum_by("comm") == {"python3": 190}

Leaving the block raises AssertionError if anything arrived that would have crashed the
real server.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.doubles.parca_rules import CrashError, RejectedError, Row, check_request

SERVICE = "parca.profilestore.v1alpha1.ProfileStoreService"
MAX_MESSAGE = 64 << 20


@dataclass(frozen=True)
class Fault:
    """What happens to the next request: wait `delay` seconds, then fail with `code`.

    stored: the request is stored and only its answer is lost; hang_up: the server drops
    every connection instead of answering and is back at the same port at once.
    """

    code: grpc.StatusCode | None = None
    delay: float = 0.0
    stored: bool = False
    hang_up: bool = False
    details: str = "injected"


@dataclass(frozen=True)
class Request:
    """One call as it arrived, accepted or not."""

    digest: str
    size: int
    authorization: str
    accepted: bool


@dataclass
class Parca:
    """token: the bearer token demanded; tls: (key, certificate) in PEM; port 0: any free one."""

    token: str = ""
    tls: tuple[bytes, bytes] | None = None
    port: int = 0
    rows: list[Row] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    crashes: list[str] = field(default_factory=list)
    last_errors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._server = self._start()

    def __enter__(self) -> Parca:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.stop(0).wait()
        assert not self.crashes, f"the real server would have crashed: {self.crashes}"

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def _start(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.so_reuseport", 1)],
        )
        method = grpc.unary_unary_rpc_method_handler(self._write_raw)
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"WriteRaw": method})
        server.add_generic_rpc_handlers((handlers,))
        where = f"localhost:{self.port}"
        if self.tls is None:
            self.port = server.add_insecure_port(where)
        else:
            credentials = grpc.ssl_server_credentials([self.tls])
            self.port = server.add_secure_port(where, credentials)
        server.start()
        return server

    def hang_up(self) -> None:
        """Drops all connections, answers nothing more on them, and listens again."""
        old = self._server
        self._server = self._start()
        old.stop(0)

    def _write_raw(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        sent: dict[str, Any] = {str(key): value for key, value in context.invocation_metadata()}
        authorization = str(sent.get("authorization", ""))
        fault = self._next_fault()
        code, details = self._judge(data, authorization, fault)
        if fault and fault.delay:
            self._stopped.wait(fault.delay)
        if fault and fault.hang_up:
            self.hang_up()
        if code is not grpc.StatusCode.OK:
            context.abort(code, details)
        return b""

    def _next_fault(self) -> Fault | None:
        with self._changed:
            return self.faults.popleft() if self.faults else None

    def _judge(
        self, data: bytes, authorization: str, fault: Fault | None
    ) -> tuple[grpc.StatusCode, str]:
        code, details, rows = grpc.StatusCode.OK, "", []
        if self.token and authorization != f"Bearer {self.token}":
            code, details = grpc.StatusCode.UNAUTHENTICATED, "wrong token"
        elif fault and fault.code and not fault.stored:
            code, details = fault.code, fault.details
        else:
            try:
                rows = check_request(data)
            except RejectedError as error:
                code, details = error.code, str(error)
            except CrashError as error:
                self.crashes.append(str(error))
                code, details = grpc.StatusCode.UNAVAILABLE, "crashed"
        self._record(data, authorization, rows, code is grpc.StatusCode.OK, details)
        if fault and fault.code and fault.stored:
            code, details = fault.code, fault.details
        return code, details

    def _record(
        self, data: bytes, authorization: str, rows: list[Row], accepted: bool, details: str
    ) -> None:
        digest = hashlib.sha256(data).hexdigest()
        with self._changed:
            self.rows += rows
            self.requests.append(Request(digest, len(data), authorization, accepted))
            for row in rows:
                self.last_errors[dict(row.labels).get("node", "")] = details
            self._changed.notify_all()

    def wait_for(self, requests: int = 0, accepted: int = 0, seconds: float = 30.0) -> bool:
        """True as soon as so many requests have arrived and been accepted; False after a while."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self.requests) >= requests and len(self.accepted()) >= accepted,
                seconds,
            )

    def accepted(self) -> list[str]:
        """Digests of the accepted requests, in order of arrival."""
        return [request.digest for request in self.requests if request.accepted]

    def types(self) -> set[str]:
        return {row.profile_type for row in self.rows}

    def sum_by(self, label: str, **where: str) -> Counter[str]:
        """Values by the value of `label`, of rows that carry the labels `where`."""
        sums: Counter[str] = Counter()
        for row in self._matching(where):
            sums[dict(row.labels).get(label, "")] += row.value
        return sums

    def stacks(self, **where: str) -> Counter[tuple[str, ...]]:
        """Values by stack, leaf first."""
        sums: Counter[tuple[str, ...]] = Counter()
        for row in self._matching(where):
            sums[row.stack] += row.value
        return sums

    def _matching(self, where: dict[str, str]) -> list[Row]:
        return [row for row in self.rows if where.items() <= dict(row.labels).items()]

    def agents(self) -> dict[str, str]:
        """Last error by node, as the Agents list shows."""
        return dict(self.last_errors)
