# SPDX-License-Identifier: Apache-2.0
"""What is claimed, measured: `python -m benchmarks`, as root, on a quiet machine."""
