# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import preflight
from supervisor.errors import RefusalError

ALL = "Name:\tx\nCapEff:\t000001ffffffffff\n"


def kernel(root: Path, *, btf: bool = True, bpf: bool = True) -> Path:
    (root / "sys/kernel/btf").mkdir(parents=True)
    (root / "proc").mkdir()
    if btf:
        (root / "sys/kernel/btf/vmlinux").write_bytes(b"")
    (root / "proc/filesystems").write_text("nodev\ttmpfs\n" + ("nodev\tbpf\n" if bpf else ""))
    return root


def test_not_root_is_refused_with_the_remedy() -> None:
    with pytest.raises(RefusalError, match=r"needs root .* Run it with sudo\."):
        preflight.check_privileges(ALL, 1000)


def test_a_root_without_capabilities_is_refused_by_their_names() -> None:
    status = "CapEff:\t00000000a80425fb\n"  # what Docker leaves by default
    with pytest.raises(RefusalError, match="lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF,"):
        preflight.check_privileges(status, 0)


def test_full_root_passes() -> None:
    preflight.check_privileges(ALL, 0)


def test_a_kernel_without_btf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="CONFIG_DEBUG_INFO_BTF"):
        preflight.check_kernel(kernel(tmp_path, btf=False))


def test_a_kernel_without_bpf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="CONFIG_BPF_SYSCALL"):
        preflight.check_kernel(kernel(tmp_path, bpf=False))


def test_a_kernel_with_both_passes(tmp_path: Path) -> None:
    preflight.check_kernel(kernel(tmp_path))


def test_a_missing_tool_is_refused_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusalError, match="apt-get install mount passwd util-linux"):
        preflight.check_tools()


def test_a_stage_must_be_there_and_readable_by_the_agents_users(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="make build"):
        preflight.check_stage(tmp_path)
    for role in ("loader", "collector"):
        (tmp_path / role).mkdir()
        (tmp_path / role / "__main__.py").write_text("")
        (tmp_path / role / "__main__.py").chmod(0o644)
    preflight.check_stage(tmp_path)
    (tmp_path / "loader/__main__.py").chmod(0o600)
    with pytest.raises(RefusalError, match="umask 022"):
        preflight.check_stage(tmp_path)
