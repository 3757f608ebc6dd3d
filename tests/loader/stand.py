# SPDX-License-Identifier: Apache-2.0
"""A place to start the real loader in: its own run directory, its own bpffs, its own file."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import accounts, commands, directories, mounts, settings
from supervisor.accounts import Accounts
from supervisor.layout import PINS, Layout
from supervisor.settings import Settings
from tests.loader import tracer

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build/stage"
SETPRIV = "/usr/bin/setpriv"


@dataclass(frozen=True)
class Stand:
    """Everything the loader finds in place when the supervisor starts it."""

    layout: Layout
    who: Accounts

    def command(self) -> list[str]:
        """The very command line of the supervisor."""
        privileges, command = commands.loader(self.layout, self.who)
        return [SETPRIV, *privileges, *command]

    def plain(self, *setpriv: str) -> list[str]:
        """The loader with other privileges than the supervisor would give it."""
        _, command = commands.loader(self.layout, self.who)
        return [SETPRIV, f"--groups={self.who.groups[PINS]}", *setpriv, *command]

    def load(
        self,
        at: Callable[[tracer.Call], tracer.Do | tracer.Fail | None] = lambda _: None,
        command: Sequence[str] = (),
    ) -> tracer.Ended:
        return tracer.trace(command or self.command(), at)

    def pins(self) -> dict[str, list[str]]:
        """What lies in each generation's directory."""
        generations = sorted(self.layout.pins.glob("gen-*"))
        return {one.name: sorted(pin.name for pin in one.iterdir()) for one in generations}

    def report(self) -> Any:
        return json.loads(self.layout.loader_report.read_text())

    def configure(self, **changes: object) -> None:
        """Writes the loader's file anew, with some keys set to something else."""
        text = settings.loader_conf(Settings(), self.layout, self.who.groups[PINS])
        values = dict(line.split(" = ") for line in text.splitlines()) | changes
        directories.write(
            self.layout.loader_conf, "".join(f"{key} = {value}\n" for key, value in values.items())
        )


@contextlib.contextmanager
def make() -> Iterator[Stand]:
    base = Path(f"/run/parca-agent-test-{secrets.token_hex(4)}")
    layout = Layout(base / "run", base / "state", base / "ship")
    who = accounts.ensure()
    directories.make(base, 0, 0, 0o755)
    for path in (layout.run, layout.pins, layout.lib):
        directories.make(path, 0, 0, 0o755)
    stand = Stand(layout, who)
    try:
        mounts.mount_stage(STAGE, layout.lib)
        mounts.mount_pins(layout.pins, who.groups[PINS])
        stand.configure()
        yield stand
    finally:
        mounts.remove_pins(layout.pins)
        mounts.unmount_under(base)
        directories.clear_run(layout.run, remove=True)
        base.rmdir()
