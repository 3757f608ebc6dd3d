# SPDX-License-Identifier: Apache-2.0
"""The door, tried from inside: a child under another user closes it and tries each call."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path

import pyseccomp
import pytest

from collector.sandbox import Policy, SandboxError, close, privileges, roles, seccomp, syscalls

pytestmark = pytest.mark.root

NOBODY = 65534
OPEN = {"open_files": True, "readable": None}


def become_nobody():
    for capability in range(64):
        privileges.libc.prctl(24, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def in_child(action, prepare=become_nobody):
    """(signal that ended it or 0, what `action` returned) of a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            result = action()
        except SandboxError as error:
            result = f"SandboxError: {error}"
        except BaseException as error:  # noqa: BLE001 - everything must reach the parent
            result = repr(error)
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, json.loads(answer or b"null")


def call(name, *arguments):
    """0 or the errno of a raw system call; None where this machine has no such call."""
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number < 0:
        return None
    longs = [ctypes.c_long(argument) for argument in arguments]
    result = privileges.libc.syscall(ctypes.c_long(number), *longs, *[ctypes.c_long(0)] * 4)
    return ctypes.get_errno() if result < 0 else 0


def behind(policy, action):
    def run():
        close(policy)
        return action()

    return in_child(run)


def error_of(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


@pytest.fixture
def reachable(tmp_path_factory):
    """A directory anybody may enter: pytest's own is for its user only."""
    base = tmp_path_factory.mktemp("door")
    for directory in (base, *base.parents):
        if directory == Path("/tmp"):
            break
        directory.chmod(directory.stat().st_mode | 0o011)
    for name in ("inside", "outside"):
        (base / name).mkdir()
        (base / name).chmod(0o777)
        (base / name / "file").write_text("text")
        (base / name / "file").chmod(0o666)
    return base


def test_report_says_what_the_kernel_says():
    def run():
        report = close(roles.elf())
        return [report.uid, report.no_new_privs, report.seccomp, report.landlock_abi]

    abi = privileges.libc.syscall(444, None, 0, 1)
    assert in_child(run) == (0, [NOBODY, True, 2, max(abi, 0)])


def test_status_is_proven_from_outside():
    release, wait = os.pipe()

    def run():
        close(roles.elf())
        os.write(wait, b"x")
        return os.read(0, 1) and 0

    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(gate, 0)
        become_nobody()
        run()
        os._exit(0)
    try:
        assert os.read(release, 1) == b"x"
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(fields[name], 16) == 0, name
        assert fields["NoNewPrivs"].strip() == "1"
        assert fields["Seccomp"].strip() == "2"
        assert 0 not in [int(word) for word in fields["Uid"].split()]
        # Not dumpable: the files of its /proc directory belong to root.
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    finally:
        os.write(opener, b"x")
        os.waitpid(pid, 0)
        for fd in (release, wait, gate, opener):
            os.close(fd)


def test_the_binding_is_found_before_files_are_out_of_reach(reachable):
    """As in a fresh process: nothing of libseccomp's binding has been imported yet."""
    reachable.chmod(0o755)
    shutil.copy(pyseccomp.__file__, reachable)

    def run():
        sys.path[:0] = [str(reachable)]
        del sys.modules["pyseccomp"]
        close(roles.elf())
        return sys.modules["pyseccomp"].__file__

    assert in_child(run) == (0, str(reachable / "pyseccomp.py"))


def test_root_is_refused():
    code, said = in_child(lambda: close(roles.elf()), prepare=lambda: None)
    assert (code, said.split(";")[0]) == (
        0,
        "SandboxError: this process runs as root or in root's group",
    )


def test_a_bounding_set_left_over_is_refused():
    def only_setuid():
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    _, said = in_child(lambda: close(roles.elf()), prepare=only_setuid)
    assert said.startswith("SandboxError: capabilities are left: CapBnd ")


def test_permitted_capabilities_are_dropped():
    def keep():
        for capability in range(64):
            privileges.libc.prctl(24, capability, 0, 0, 0)
        privileges.libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    def run():
        fd = privileges.open_status()
        before = privileges.read_status(fd).capabilities["CapPrm"]
        return [before != 0, close(roles.elf()).capabilities]

    assert in_child(run, prepare=keep) == (0, [True, 0])


def test_a_second_thread_is_refused():
    def run():
        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
        return close(roles.collect("/tmp"))

    assert in_child(run)[1].startswith("SandboxError: 2 threads run")


@pytest.mark.parametrize("name", syscalls.KILL)
def test_sec_24_deadly_calls_end_the_process(name):
    if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) < 0:
        pytest.skip(f"this machine has no {name}")
    code, _ = behind(roles.collect("/tmp"), lambda: call(name))
    assert code == signal.SIGSYS


@pytest.mark.parametrize("make", [roles.elf, lambda: roles.collect("/tmp"), lambda: SHIP])
def test_sec_24_no_role_runs_a_program(make):
    code, _ = behind(make(), lambda: os.execv("/bin/true", ["true"]))
    assert code == signal.SIGSYS


SHIP = roles.ship("/tmp", "/tmp", tcp_ports=(4443,))


@pytest.mark.parametrize("name", ["fork", "vfork", "setuid", "memfd_create", "personality"])
def test_sec_24_other_calls_are_refused(name):
    assert behind(roles.collect("/tmp"), lambda: call(name, 0, 0)) == (0, errno.EPERM)


def test_sec_24_a_memfd_is_made_in_two_ways_by_one_role_and_sealed():
    def made(flags):
        return error_of(lambda: os.memfd_create("x", flags))

    def run():
        sealed = os.memfd_create("x", 3)
        fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        answers = [made(flags) for flags in (0, 1, 2, 3, 7, 0x10)]
        return [*answers, error_of(lambda: os.write(sealed, b"x"))]

    refused = "EPERM"
    answers = [refused, refused, refused, "done", refused, refused, refused]
    assert behind(roles.collect("/tmp"), run) == (0, answers)
    for policy in (roles.elf(), SHIP):
        assert behind(policy, lambda: made(3)) == (0, refused)


def test_sec_24_of_bpf_only_element_commands_stay():
    def run():
        return [call("bpf", command, 0, 0) for command in range(40)]

    _, answers = behind(roles.collect("/tmp"), run)
    let_through = {command for command, answer in enumerate(answers) if answer != errno.EPERM}
    assert let_through == set(syscalls.BPF_COMMANDS.values())


def test_without_the_permission_no_bpf_command_stays():
    policy = Policy(role="plain")
    assert behind(policy, lambda: call("bpf", 1, 0, 0)) == (0, errno.EPERM)


def test_a_filter_is_not_fooled_by_upper_register_halves():
    # BPF_PROG_LOAD with rubbish above bit 31: the kernel would look at the low half alone.
    load = (1 << 32) | 5
    assert behind(roles.collect("/tmp"), lambda: call("bpf", load, 0, 0)) == (0, errno.EPERM)


def test_clone3_is_unknown_and_threads_still_start():
    def run():
        answers = []
        thread = threading.Thread(target=lambda: answers.append(call("clone3", 0, 0)))
        thread.start()
        thread.join()
        return answers

    assert behind(roles.collect("/tmp"), run) == (0, [errno.ENOSYS])


def test_a_role_without_threads_starts_none():
    def run():
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            return "refused"
        return "started"

    assert behind(roles.elf(), run) == (0, "refused")


@pytest.mark.parametrize(
    ("policy", "family", "expected"),
    [
        (roles.elf(), socket.AF_UNIX, "EPERM"),
        (roles.elf(), socket.AF_INET, "EPERM"),
        (roles.collect("/tmp"), socket.AF_UNIX, "done"),
        (roles.collect("/tmp"), socket.AF_INET, "EPERM"),
        (roles.collect("/tmp"), socket.AF_INET6, "EPERM"),
        (roles.collect("/tmp"), socket.AF_NETLINK, "EPERM"),
        (SHIP, socket.AF_INET, "done"),
        (SHIP, socket.AF_INET6, "done"),
        (SHIP, socket.AF_PACKET, "EPERM"),
        (roles.ship("/tmp", "/tmp", tcp_ports=()), socket.AF_INET, "EPERM"),
    ],
)
def test_sockets_by_family(policy, family, expected):
    def run():
        return error_of(lambda: socket.socket(family, socket.SOCK_DGRAM))

    assert behind(policy, run) == (0, expected)


def test_executable_memory_is_refused():
    def run():
        wx = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        return [error_of(lambda: mmap.mmap(-1, 4096, prot=wx)), len(mmap.mmap(-1, 4096))]

    assert behind(roles.elf(), run) == (0, ["EPERM", 4096])


def test_executable_memory_by_permission():
    policy = Policy(role="plain", executable_memory=True)
    wx = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    assert behind(policy, lambda: len(mmap.mmap(-1, 4096, prot=wx))) == (0, 4096)


def test_the_worker_opens_nothing():
    def run():
        return error_of(lambda: os.open("/etc/passwd", os.O_RDONLY))

    assert behind(roles.elf(), run) == (0, "EPERM")


def test_a_reader_writes_nothing(reachable):
    policy = roles.report(str(reachable / "inside"))

    def run():
        target = reachable / "inside" / "file"
        return [
            error_of(lambda: os.open(target, os.O_WRONLY)),
            error_of(target.unlink),
        ]

    assert behind(policy, run) == (0, ["EPERM", "EPERM"])


def test_sec_25_files_outside_stay_out_of_reach(reachable):
    if privileges.libc.syscall(444, None, 0, 1) < 3:
        pytest.skip("this kernel's Landlock does not know truncate")
    inside, outside = reachable / "inside", reachable / "outside"
    policy = Policy(role="plain", open_files=True, readable=("/usr",), writable=(str(inside),))

    def run():
        (inside / "new").write_text("x")
        (inside / "new").rename(inside / "renamed")
        return [
            error_of((inside / "renamed").read_text),
            error_of((inside / "renamed").unlink),
            error_of((outside / "file").read_text),
            error_of((outside / "new").touch),
            error_of(lambda: (inside / "file").rename(outside / "moved")),
            error_of((outside / "file").unlink),
            error_of(lambda: list(outside.iterdir())),
        ]

    code, said = behind(policy, run)
    assert (code, said[:2]) == (0, ["done", "done"])
    assert said[2:4] == ["EACCES", "EACCES"]
    assert said[4] in ("EACCES", "EXDEV")
    assert said[5:] == ["EACCES", "EACCES"]


def test_a_path_that_is_absent_is_an_error():
    policy = roles.report("/does/not/exist")
    assert in_child(lambda: close(policy))[1] == (
        "SandboxError: Landlock: [Errno 2] No such file or directory: '/does/not/exist'"
    )


def test_a_directory_this_user_may_not_enter_is_an_error_only_to_write(reachable):
    (reachable / "inside").chmod(0o700)
    secret = str(reachable / "inside" / "file")
    assert behind(roles.report(secret), lambda: error_of(lambda: os.open(secret, 0))) == (
        0,
        "EACCES",
    )
    policy = roles.collect(str(reachable / "inside" / "file"))
    assert "Permission denied" in in_child(lambda: close(policy))[1]


def test_no_file_lends_its_uid(reachable):
    policy = roles.collect(str(reachable / "inside"))

    def run():
        path = str(reachable / "inside" / "mine")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        return [
            error_of(lambda: os.fchmod(fd, 0o4755)),
            error_of(lambda: os.fchmod(fd, 0o640)),
            error_of(lambda: os.open(path + "2", os.O_WRONLY | os.O_CREAT, 0o2755)),
        ]

    assert behind(policy, run) == (0, ["EPERM", "done", "EPERM"])


def test_sec_25_other_processes_get_no_signal():
    def run():
        return [call("kill", os.getppid(), 0), call("kill", os.getpid(), 0)]

    assert behind(roles.collect("/tmp"), run) == (0, [errno.EPERM, 0])


def test_sec_25_abstract_sockets_are_out_of_reach():
    if privileges.libc.syscall(444, None, 0, 1) < 6:
        pytest.skip("this kernel's Landlock does not know scopes")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(b"\0parca-agent-door-%d" % os.getpid())
        server.listen(1)
        name = server.getsockname()

        def run():
            return error_of(lambda: socket.socket(socket.AF_UNIX).connect(name))

        assert behind(roles.collect("/tmp"), run) == (0, "EPERM")


def test_sec_25_other_ports_are_out_of_reach():
    if privileges.libc.syscall(444, None, 0, 1) < 4:
        pytest.skip("this kernel's Landlock does not know TCP")
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = one.getsockname()[1], two.getsockname()[1]

        def run():
            return [
                error_of(lambda: socket.create_connection(("127.0.0.1", ports[0]))),
                error_of(lambda: socket.create_connection(("127.0.0.1", ports[1]))),
                error_of(lambda: socket.socket().bind(("127.0.0.1", 4443))),
                error_of(lambda: socket.socket().bind(("127.0.0.1", 0))),
                error_of(lambda: socket.create_server(("127.0.0.1", 0))),
            ]

        policy = roles.ship("/tmp", "/tmp", tcp_ports=(ports[0],))
        assert behind(policy, run) == (0, ["done", "EACCES", "EACCES", "done", "EPERM"])


def test_the_pins_are_not_among_what_the_collector_reads():
    readable = roles.collect("/tmp").readable
    assert "/usr" in readable
    assert not [path for path in readable if path == "/" or path.startswith(("/run", "/sys"))]


def test_no_call_is_both_allowed_and_deadly():
    widest = Policy(
        role="widest",
        open_files=True,
        writable=("/",),
        threads=True,
        serves=True,
        unix_sockets=True,
        internet=True,
        bpf_elements=True,
    )
    assert not {name for name, _ in seccomp.rules(widest)} & set(syscalls.KILL)
