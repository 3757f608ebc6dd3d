# SPDX-License-Identifier: Apache-2.0
"""The windows of one run as files for people: a pprof profile, collapsed text, a flame graph.

decode -> merge -> { pprof, collapsed, tree -> flamegraph, summary }; main.py knows them all.
"""
