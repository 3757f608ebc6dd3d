# SPDX-License-Identifier: Apache-2.0
"""System calls by purpose: what CPython 3.11 and later, glibc and our own code make.

A name that libseccomp does not know, or the machine does not have, is skipped when the
filter is built: it then falls under the default, which is to refuse.
"""

from __future__ import annotations

import fcntl

MEMORY = ("brk", "munmap", "mremap", "madvise", "membarrier", "mincore")
"""mmap and mprotect are let through on condition, see seccomp.py."""

TIME = (
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"),
    *("setitimer", "getitimer", "alarm", "times", "getrusage"),
)

SELF = (
    *("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid"),
    *("getgroups", "getresuid", "getresgid", "getpgrp", "getpgid", "getsid", "getrandom"),
    *("uname", "sysinfo", "getrlimit", "getcpu", "getpriority"),
    *("sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler"),
    *("exit", "exit_group", "rseq", "set_robust_list", "get_robust_list", "set_tid_address"),
    *("futex", "futex_wait", "futex_wake", "futex_waitv", "restart_syscall"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack"),
    *("rt_sigtimedwait", "rt_sigsuspend", "pause", "capget", "umask"),
)

DESCRIPTORS = (
    *("read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "pwritev"),
    *("close", "close_range", "dup", "dup2", "dup3", "lseek", "fstat", "fstatfs", "fadvise64"),
    *("poll", "ppoll", "select", "pselect6", "pipe", "pipe2", "eventfd2"),
    *("epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2"),
    *("timerfd_create", "timerfd_settime", "timerfd_gettime"),
    *("recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown"),
    *("getsockopt", "setsockopt", "getsockname", "getpeername"),
)

SERVE = ("accept", "accept4")

LOOK = (
    *("stat", "lstat", "newfstatat", "statx", "statfs", "access", "faccessat", "faccessat2"),
    *("readlink", "readlinkat", "getdents", "getdents64", "getcwd"),
)
"""Asking about files by path; open(2) itself is let through on condition."""

CHANGE = (
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "sync_file_range", "flock"),
)

CONNECT = ("connect", "bind", "sendmmsg", "recvmmsg")
"""bind gives a UDP socket of a resolver its source port; listen is not among them."""

KILL = (
    *("execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("process_madvise", "pidfd_getfd", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("add_key", "request_key", "keyctl", "open_by_handle_at", "name_to_handle_at"),
    *("unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "mount_setattr"),
    *("move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("reboot", "swapon", "swapoff", "acct", "quotactl", "iopl", "ioperm", "modify_ldt"),
)
"""No honest path of ours makes these: the process that does is no longer ours."""

IOCTL_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS and TIOCGWINSZ (isatty, terminal size), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""

FCNTL_COMMANDS = (
    *(fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD),
    *(fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
)

MEMFD_FLAGS = (0x3, 0xB)
"""MFD_CLOEXEC and MFD_ALLOW_SEALING, without and with MFD_NOEXEC_SEAL (linux 6.3)."""

PRCTL_OPTIONS = (3, 15, 16, 21, 23, 39, 0x53564D41)
"""GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA."""

BPF_COMMANDS = {
    "MAP_LOOKUP_ELEM": 1,
    "MAP_UPDATE_ELEM": 2,
    "MAP_DELETE_ELEM": 3,
    "MAP_GET_NEXT_KEY": 4,
    "MAP_LOOKUP_AND_DELETE_ELEM": 21,
    "MAP_LOOKUP_BATCH": 24,
    "MAP_LOOKUP_AND_DELETE_BATCH": 25,
    "MAP_UPDATE_BATCH": 26,
    "MAP_DELETE_BATCH": 27,
    "LINK_CREATE": 28,
    "ITER_CREATE": 33,
}
"""enum bpf_cmd of linux/bpf.h: what works on descriptors held, and makes nothing reachable."""
