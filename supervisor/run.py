# SPDX-License-Identifier: Apache-2.0
"""One run of the agent, from an untouched machine to an untouched machine."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from supervisor import (
    accounts,
    commands,
    directories,
    mounts,
    oneshot,
    preflight,
    settings,
    sockets,
)
from supervisor.accounts import Accounts
from supervisor.errors import FailureError, RefusalError
from supervisor.layout import COLLECTOR, PINS, STATUS, Layout
from supervisor.outputs import Outputs
from supervisor.settings import Settings
from supervisor.signals import StopSignals
from supervisor.supervise import Supervisor
from supervisor.terminal import Terminal, printable

LOADER_SECONDS = 60.0
REPORT_SECONDS = 300.0
REFUSED = 2


@dataclass(frozen=True, slots=True)
class Options:
    """The command line; duration in seconds, None meaning until stopped."""

    stage: Path
    out: Path
    duration: float | None = None
    frequency: int | None = None
    config: Path | None = None
    layout: Layout = field(default_factory=Layout)


def run(options: Options, terminal: Terminal) -> list[Path]:
    """Profile this machine; returns the four files. RefusalError, FailureError or ConfigError.

    Whatever happens, nothing stays mounted or pinned, and a refusal leaves no trace at all.
    """
    chosen = settings.load(options.config, options.frequency)
    preflight.check(options.stage)
    # In ps and top it is the supervisor: no part of the agent, and the only one with privileges.
    Path("/proc/self/comm").write_text("parca-agent-sup")
    with StopSignals() as stops, ExitStack() as undo:
        layout = options.layout
        os.umask(0o022)
        undo.callback(os.close, directories.lock(layout.run))
        _refuse_second_agent(layout)
        undo.callback(_clean, layout, remove=True)
        _clean(layout, remove=False)
        # Undone only if refused: a run that worked leaves accounts and spool for the next one.
        with ExitStack() as traces:
            who = accounts.ensure()
            traces.callback(accounts.remove_created, who)
            for path in directories.make_state(layout, who):
                traces.callback(path.rmdir)
            _prepare(layout, options.stage, chosen, who)
            outputs = Outputs(options.out)
            undo.callback(outputs.close)
            _load(layout, who)
            traces.pop_all()
        newest = newest_window(layout.spool)
        answer = _supervise(options, chosen, who, stops, terminal)
        return _report(layout, who, newest, answer, outputs)


def _prepare(layout: Layout, stage: Path, chosen: Settings, who: Accounts) -> None:
    """Mounts and files, everything the loader finds in place."""
    for path in (layout.pins, layout.lib):
        directories.make(path, 0, 0, 0o755)
    mounts.mount_stage(stage, layout.lib)
    mounts.mount_pins(layout.pins, who.groups[PINS])
    conf = settings.loader_conf(chosen, layout, who.groups[PINS])
    directories.write(layout.loader_conf, conf)
    directories.write(layout.collector_yaml, settings.collector_yaml(chosen, layout))
    directories.write(layout.ship_yaml, settings.ship_yaml(chosen, layout))
    _check_credentials(chosen, who)


def _check_credentials(chosen: Settings, who: Accounts) -> None:
    """RefusalError when the shipper's user cannot read a file that a destination names."""
    named = [(one.ca_file, one.bearer_token_file) for one in chosen.destinations]
    paths = [path for pair in named for path in pair if path]
    if not paths:
        return
    code, output = oneshot.run(*commands.can_read(who, paths), deadline=10)
    if code != 0:
        raise RefusalError(
            f"{printable(output)} cannot be read by the user parca-agent-ship.",
            "Give its group read access, and search access to the directories above.",
        )


def _load(layout: Layout, who: Accounts) -> None:
    code, output = oneshot.run(*commands.loader(layout, who), deadline=LOADER_SECONDS)
    if code == REFUSED:
        raise RefusalError(_text(output) or "The loader refused this machine without a reason.")
    if code != 0:
        raise FailureError(f"The loader failed ({code}):\n{_text(output)}")


def _supervise(
    options: Options, chosen: Settings, who: Accounts, stops: StopSignals, terminal: Terminal
) -> bytes:
    """Run until stopped; the collector's last status answer, empty if there was none."""
    layout = options.layout
    collector = who.users[COLLECTOR], who.groups[COLLECTOR]
    with (
        sockets.listen(layout.status_socket, 0, who.groups[STATUS], 0o660) as status,
        sockets.listen(layout.elf_socket, 0, collector[1], 0o660) as elf,
        sockets.listen(layout.tables_socket, 0, collector[1], 0o660) as tables,
    ):
        supervisor = Supervisor(
            commands.services(layout, who, status, elf, tables),
            status_socket=layout.status_socket,
            frequency=chosen.sampling.frequency,
            terminal=terminal,
            stops=stops,
        )
        try:
            supervisor.run(options.duration)
        finally:
            finished = supervisor.drain(before=lambda: mounts.stop_sampling(layout.pins))
            terminal.end()  # draining still draws: it asks for the last answer
            if not finished:
                terminal.message("The collector did not finish; its last window is lost.")
            mounts.remove_pins(layout.pins)
    return supervisor.answer or b""


def _report(
    layout: Layout, who: Accounts, newest: str, answer: bytes, outputs: Outputs
) -> list[Path]:
    """Let an unprivileged process write the four files from the windows after `newest`.

    The last status answer goes along in a memory file, so that the summary can tell outcomes.
    """
    if not answer and newest_window(layout.spool) == newest:
        raise FailureError("The collector never came up; its messages are above.")
    with os.fdopen(os.memfd_create("status"), "wb", buffering=0) as status:
        status.write(answer)
        code, output = oneshot.run(
            *commands.report(layout, who, newest),
            deadline=REPORT_SECONDS,
            descriptors=[*outputs.descriptors, (status.fileno(), "status")],
        )
    if code != 0:
        raise FailureError(f"The report failed ({code}):\n{_text(output)}")
    return outputs.commit()


def newest_window(spool: Path) -> str:
    """The last name in the spool, where names sort by age; empty when there is none."""
    names = [entry.name for entry in spool.iterdir() if entry.name.endswith(".window")]
    return max(names, default="")


def _refuse_second_agent(layout: Layout) -> None:
    """A supervisor would hold the lock; an installed agent is known by its socket."""
    if sockets.is_served(layout.status_socket):
        raise RefusalError(
            f"An agent is running already ({layout.status_socket} answers).",
            "Stop it first: systemctl stop parca-agent.",
        )


def _clean(layout: Layout, *, remove: bool) -> None:
    """Unpin, unmount and delete what this or a killed supervisor left in the run directory."""
    mounts.remove_pins(layout.pins)
    mounts.unmount_under(layout.run)
    directories.clear_run(layout.run, remove=remove)


def _text(output: bytes) -> str:
    return "\n".join(printable(line) for line in output.splitlines())
