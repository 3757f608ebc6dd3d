# SPDX-License-Identifier: Apache-2.0
"""parca-agent-ctl: what an operator asks the agent, and what /proc says about it.

The agent's own words come over its status socket; the privilege table does not: it is read
here, live, from /proc, so that an agent which kept a privilege could not deny it.
"""
