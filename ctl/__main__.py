# SPDX-License-Identifier: Apache-2.0
"""`python -m ctl`, and what the installed parca-agent-ctl runs."""

from ctl.main import run

run()
