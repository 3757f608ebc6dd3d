# SPDX-License-Identifier: Apache-2.0
"""What the collector says about itself: one JSON object for whoever may connect.

snapshot.py is the shape, health.py the judgement, codec.py the way to and from JSON,
server.py the socket. `parca-agent-ctl` reads it back with the same shape.
"""
