# SPDX-License-Identifier: Apache-2.0
"""The door: what a process of the agent gives up before it touches anybody's data."""

from collector.sandbox.door import close
from collector.sandbox.policy import Policy, Report, SandboxError

__all__ = ["Policy", "Report", "SandboxError", "close"]
