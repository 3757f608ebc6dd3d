# SPDX-License-Identifier: Apache-2.0
"""What threads take and free does not stay. In processes of their own: settings are for good."""

import subprocess
import sys

PROGRAM = """
import sys, threading
from collector import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def work():
    for size in range(1 << 20, 32 << 20, 1 << 20):
        pieces = [bytes(50_000) for _ in range(size // 50_000)]
        pieces.append(bytes(size))
        kept.append(bytes(1000))  # lies above the others, so that the arena's end is in use
        del pieces

ours = sys.argv[1] == "ours"
if ours:
    heap.settle()
kept = []
before = resident()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if ours:
    heap.trim()
print(resident() - before)
"""


def left(whose):
    command = [sys.executable, "-c", PROGRAM, whose]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_what_is_freed_goes_back():
    ours, glibc = left("ours"), left("glibc's")
    print(f"{ours:,} bytes stay, {glibc:,} with glibc's own settings")
    assert ours < 8 << 20
