# SPDX-License-Identifier: Apache-2.0
"""The boundary between the collector and the shipper: a directory of windows on disk.

The collector writes and deletes, the shipper reads, and keeps its cursors elsewhere. Each
half treats what the other wrote as hostile. Without a server this is the local store.
"""
