# SPDX-License-Identifier: Apache-2.0
"""The shipper: the only process that connects out. Reads the spool, sends, remembers.

Nothing here may import what reads pins, ELF files or other processes. grpc is imported
only once a destination is configured, since it is more than the rest of the process.
"""
