# SPDX-License-Identifier: Apache-2.0
"""A window's profile as Parca's WriteRawRequest, the payload of a spool file.

Parca refuses a whole request for one bad series, so what it would refuse is made right
here: label names, duplicates, a missing label set.
"""

from __future__ import annotations

import re

from collector.encode.pprof import encode_series
from collector.encode.proto import profilestore_pb2
from collector.model import Profile, Series

# First part of the profile type; Parca's user interface knows this one as on-CPU time.
PROFILE_NAME = "parca_agent"

_FORBIDDEN_IN_NAME = re.compile(r"[^a-zA-Z0-9_]")


def encode(profile: Profile) -> bytes:
    """A serialized WriteRawRequest with one series per non-empty series of `profile`."""
    request = profilestore_pb2.WriteRawRequest(normalized=True)
    for series in profile.series:
        if any(count > 0 for _, count in series.samples):
            _add_series(request, series, profile)
    return request.SerializeToString(deterministic=True)


def _add_series(
    request: profilestore_pb2.WriteRawRequest, series: Series, profile: Profile
) -> None:
    message = request.series.add()
    for name, value in sorted(valid_labels(series.labels).items()):
        message.labels.labels.add(name=name, value=value)
    message.samples.add(raw_profile=encode_series(series, profile))


def valid_labels(labels: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Labels as Prometheus wants them, with __name__: unique names, no empty value.

    Of two labels whose names become equal the first stays.
    """
    valid = {"__name__": PROFILE_NAME}
    for name, value in labels:
        if name and value:
            valid.setdefault(_valid_name(name), value.encode("utf-8", "replace").decode())
    return valid


def _valid_name(name: str) -> str:
    name = _FORBIDDEN_IN_NAME.sub("_", name)
    return f"_{name}" if name[0].isdigit() else name
