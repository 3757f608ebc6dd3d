# SPDX-License-Identifier: Apache-2.0
"""Nothing leaks: a planted secret, kernel and user addresses, and names that would do harm."""

from __future__ import annotations

import errno
import gzip
import os
import re
import secrets
import signal
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.encode.proto import pprof_pb2, profilestore_pb2
from collector.label.labels import NAMES
from libbpf import abi
from tests.kernel.agent import LAYOUT, ROOT, Agent, descendants
from tests.kernel.programs import build, running
from tests.security import as_collector, scan
from tests.security.as_collector import Found

pytestmark = pytest.mark.root

SECRETIVE = Path(__file__).parent / "secretive.c"
FLAGS = ("-O2", "-fomit-frame-pointer", "-mno-red-zone", "-fno-stack-protector")
NASTY = "x{\"'\\\n\x1b[31m,="


@dataclass
class Evidence:
    """Everything that left the kernel while the programs ran, by where it was found."""

    unwinding: str
    secret: bytes
    payloads: list[bytes]
    outputs: dict[str, bytes]
    pins: Found
    stacks: dict[str, int]
    attempts: dict[str, int]
    numbered: dict[str, set[int]]
    executable: list[range]
    spooled: dict[str, bytes] = field(default_factory=dict)

    def everything(self):
        yield from self.outputs.items()
        yield from self.pins.raw.items()
        for name, elements in self.pins.elements.items():
            yield name, b"".join(key + value for key, value in elements)
        for number, payload in enumerate(self.payloads):
            yield f"window {number}", payload
            for inner in unpacked(payload):
                yield f"profile of window {number}", inner


def unpacked(payload):
    """The profiles within a request, decompressed."""
    request = profilestore_pb2.WriteRawRequest.FromString(payload)
    return [
        gzip.decompress(sample.raw_profile)
        for series in request.series
        for sample in series.samples
    ]


def profiles(payload):
    return [pprof_pb2.Profile.FromString(raw) for raw in unpacked(payload)]


@pytest.fixture(scope="module", params=["auto", "frame_pointers"])
def evidence(request, readable, tmp_path_factory):
    directory = tmp_path_factory.mktemp("leaks")
    secret = secrets.token_bytes(32)
    program = build(readable / "secretive", SECRETIVE, *FLAGS)
    nasty = readable / NASTY
    nasty.write_bytes(program.read_bytes())
    nasty.chmod(0o755)
    unwinding = request.param
    with (
        Agent(directory, hz=1999, window_seconds=2, unwinding=unwinding) as agent,
        running(program, stdin=subprocess.PIPE) as first,
        running(nasty, stdin=subprocess.PIPE) as second,
    ):
        for process in (first, second):
            process.stdin.write(secret)
            process.stdin.close()
        agent.next_window()
        kill_the_collector(agent)  # so that there is something in the log
        agent.next_window()
        generation = next(LAYOUT.pins.glob("gen-*"))
        found = as_collector.run(lambda: as_collector.everything(LAYOUT.pins))
        outputs = {"status": agent.answer(), "privileges": control("status")}
        stacks = agent.status()["stacks"]["user_ends"]
        attempts = as_collector.run(lambda: as_collector.widen(generation))
        numbered = as_collector.run(as_collector.by_number)
        executable = scan.executable_ranges()
        for path in [*LAYOUT.run.iterdir(), *LAYOUT.ship.iterdir()]:
            if path.is_file():
                outputs[path.name] = path.read_bytes()
        assert agent.stop() == 0, agent.output()
    payloads = [payload for _, payload in agent.raw_windows()]
    for path in (directory / "out").iterdir():
        outputs[path.name] = path.read_bytes()
    outputs["profile.pb"] = gzip.decompress(outputs.pop("profile.pb.gz"))
    outputs["log"] = agent.log.read_bytes()
    return Evidence(
        unwinding, secret, payloads, outputs, found, stacks, attempts, numbered, executable
    )


def kill_the_collector(agent):
    for pid in descendants(agent.supervisor):
        if b"\0collect\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)


def control(*arguments):
    """What parca-agent-ctl prints."""
    command = [ROOT / ".venv/bin/python", "-m", "ctl", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False).stdout


def test_the_secret_never_leaves(evidence):
    for where, data in evidence.everything():
        assert not scan.contains(data, evidence.secret), where


def test_the_walks_did_meet_the_secret(evidence):
    """Else the test above would prove nothing: its stacks ended in each of these ways."""
    if evidence.unwinding == "frame_pointers":
        for end in ("outside_mappings", "unreadable", "bad_frame_pointer"):
            assert evidence.stacks[f"user_{end}"] > 100, evidence.stacks
    else:
        broken = evidence.stacks["user_no_table"] + evidence.stacks["user_outside_mappings"]
        assert broken > 1000, evidence.stacks
    found = [row for payload in evidence.payloads for row in profiles(payload)]
    names = {text for profile in found for text in profile.string_table}
    assert {"run", "inside_code"} <= names


def test_the_scan_finds_what_it_looks_for(evidence):
    first, second = evidence.secret[:8], evidence.secret[8:16]
    varint = pprof_pb2.Location(address=int.from_bytes(second, "little") - 1).SerializeToString()
    for planted in (
        *(evidence.secret, b"x" + first + b"y", first[::-1], evidence.secret[5:11], varint),
        f"at {int.from_bytes(first, 'little'):#x}:".encode(),
        f'"{int.from_bytes(first, "little")}",'.encode(),
    ):
        assert scan.contains(b"before " + planted + b" after", evidence.secret), planted
    assert not scan.contains(b"before and after 123456", evidence.secret)


def test_sec_35_no_kernel_address_in_anything_that_is_stored_shipped_or_shown(evidence):
    for where, data in [*evidence.outputs.items(), *profiles_of(evidence)]:
        assert scan.hits(scan.varints(data), [scan.KERNEL_HALF]) == [], where
        assert scan.hits(scan.numbers(data), [scan.KERNEL_HALF]) == [], where


def profiles_of(evidence):
    for number, payload in enumerate(evidence.payloads):
        for raw in unpacked(payload):
            yield f"window {number}", raw


def test_sec_35_no_kernel_address_is_readable_through_a_pin(evidence):
    ranges = scan.kernel_ranges()
    found = evidence.pins
    assert set(found.elements) >= {"counters", "control", "samples_0", "samples_1", "stacks_0"}
    assert found.refused.keys() >= {"sample-0", "process_exec"}
    assert {found.refused[name] for name in ("sample-0", "process_exec")} == {errno.EACCES}
    for name, elements in found.elements.items():
        for key, value in elements:
            for data in (key, value):
                assert scan.hits(scan.aligned(data), ranges) == [], name
    for name, data in found.raw.items():
        assert scan.hits(scan.numbers(data), ranges) == [], name
        if not name.endswith(("as a file", "output")):
            assert scan.hits(scan.aligned(data), [scan.KERNEL_HALF]) == [], name
    assert scan.hits(scan.numbers(found.raw["ksym output"]), [scan.KERNEL_HALF]) == []
    for name in ("task output", "task_vma output"):
        assert scan.hits(scan.aligned(found.raw[name]), [*ranges, scan.KERNEL_HALF]) == [], name


def test_sec_35_kernel_symbols_tell_distances_only_and_none_from_a_fixed_place(evidence):
    """A symbol whose address is the same on each boot would give the base away."""
    base = scan.kernel_ranges()[0].start
    lines = evidence.pins.raw["ksym output"].splitlines()
    assert len(lines) > 10_000
    for line in lines:
        address = base + int(line.split()[0])
        assert 0xFFFFFFFF80000000 <= address < 0xFFFFFFFFFF000000, line


def elements_of(evidence, kind):
    return [pair for n in (0, 1) for pair in evidence.pins.elements[f"{kind}_{n}"]]


def test_no_word_in_a_stack_is_left_over_from_a_longer_one(evidence):
    for _, value in elements_of(evidence, "stacks"):
        length, _, *addresses = struct.unpack(abi.struct_format("stack"), value)
        assert length <= abi.MAX_FRAMES
        assert not any(addresses[length:])


def test_sec_35_kernel_frames_are_small_distances(evidence):
    kernel = [
        struct.unpack(abi.struct_format("stack"), value)
        for _, value in elements_of(evidence, "stacks")
    ]
    offsets = [
        offset
        for length, end, *addresses in kernel
        if end == abi.lib.STACK_KERNEL
        for offset in addresses[:length]
    ]
    assert offsets
    assert all(offset < 1 << 32 for offset in offsets)


def test_what_decides_over_words_cannot_be_changed_or_found(evidence):
    refused = {errno.EINVAL, errno.EPERM, errno.EBADF}
    assert set(evidence.attempts.values()) <= refused, evidence.attempts
    assert all(answers == {-errno.EPERM} for answers in evidence.numbered.values())
    assert "executable_ranges" not in evidence.pins.elements
    assert "kernel_base" not in evidence.pins.elements


def test_sec_36_user_addresses_are_in_no_log_and_in_profiles_only_as_file_addresses(evidence):
    assert evidence.executable
    for where in ("log", "status", "privileges", "summary.json", "loader.json"):
        assert scan.hits(scan.numbers(evidence.outputs[where]), evidence.executable) == [], where
    for where, raw in [("profile.pb", evidence.outputs["profile.pb"]), *profiles_of(evidence)]:
        profile = pprof_pb2.Profile.FromString(raw)
        addresses = {location.address for location in profile.location}
        assert all(address < 1 << 40 for address in addresses), where
        assert all(one.memory_start == one.memory_limit == 0 for one in profile.mapping), where
        assert scan.hits(scan.varints(raw), evidence.executable) == [], where
    for where in ("profile.collapsed.txt", "flamegraph.html"):
        assert scan.hits(scan.numbers(evidence.outputs[where]), evidence.executable) == [], where


def test_sec_13_hostile_names_make_no_label_of_their_own(evidence):
    seen = set()
    for payload in evidence.payloads:
        for series in profilestore_pb2.WriteRawRequest.FromString(payload).series:
            labels = {label.name: label.value for label in series.labels.labels}
            assert labels.keys() - {"__name__"} <= NAMES
            assert all(value.isprintable() and len(value) <= 512 for value in labels.values())
            seen |= {labels.get("executable", ""), labels["comm"]}
    nasty = [name for name in seen if name.startswith('x{"')]
    assert nasty
    assert all(r"\x1b" in name or r"\n" in name for name in nasty), nasty


def test_sec_14_hostile_names_reach_no_terminal_log_or_file_raw(evidence):
    for where in ("log", "status", "privileges", "profile.collapsed.txt", "summary.json"):
        text = evidence.outputs[where].decode()
        assert not re.search(r"[^\n\x20-\x7e\x80-\U0010ffff]", text), where
    for line in evidence.outputs["profile.collapsed.txt"].decode().splitlines():
        assert re.fullmatch(r".+ [0-9]+", line), line
    page = evidence.outputs["flamegraph.html"].decode()
    assert "\x1b" not in page
