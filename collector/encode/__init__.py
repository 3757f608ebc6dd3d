# SPDX-License-Identifier: Apache-2.0
"""Profiles as bytes: pprof for people's tools, WriteRaw for Parca, both from one window."""
