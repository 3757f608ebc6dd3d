# SPDX-License-Identifier: Apache-2.0
"""Wire messages; the *_pb2 modules are made by collector/encode/generate.py."""
