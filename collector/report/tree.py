# SPDX-License-Identifier: Apache-2.0
"""The merged stacks as one tree: all, then process, then its frames from root to leaf."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from collector.report.frames import Kind, kind, printable, title
from collector.report.merge import Merged

MAX_NODES = 50_000
"""Nodes that a page shows; the smallest go first, and the page says how many went."""

BUILD_ID_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Label:
    """What a node shows: its title, its kind, the file and the beginning of its build id."""

    title: str
    kind: Kind
    file: str = ""
    build_id: str = ""


@dataclass(slots=True)
class Node:
    """total counts the samples below and at this node, own those that end here."""

    label: Label
    total: int = 0
    own: int = 0
    children: dict[Label, Node] = field(default_factory=dict)

    def child(self, label: Label) -> Node:
        found = self.children.get(label)
        if found is None:
            found = self.children[label] = Node(label)
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """One node in preorder; level 0 is the root."""

    level: int
    label: Label
    total: int
    own: int


def build(merged: Merged) -> Node:
    """The tree of all samples. Processes of the same name are one."""
    labels = [
        Label(
            title(one), kind(one), printable(one.executable.name), _short(one.executable.build_id)
        )
        for one in merged.frames
    ]
    root = Node(Label("all", Kind.PROCESS))
    processes: dict[str, Label] = {}
    for (pairs, stack), count in merged.rows.items():
        comm = dict(pairs).get("comm", "[unknown]")
        process = processes.setdefault(comm, Label(printable(comm), Kind.PROCESS))
        node = root
        node.total += count
        for label in (process, *(labels[number] for number in reversed(merged.stacks[stack]))):
            node = node.child(label)
            node.total += count
        node.own += count
    return root


def rows(root: Node, most: int = MAX_NODES) -> tuple[list[Row], int]:
    """At most `most` nodes in preorder, large siblings first; and how many were left out.

    What goes is everything below one number of samples, so no node loses its parent.
    """
    totals = sorted((row.total for row in _walk(root, 0)), reverse=True)
    least = totals[most] + 1 if len(totals) > most else 0
    kept = list(_walk(root, least))
    return kept, len(totals) - len(kept)


def _walk(root: Node, least: int) -> Iterator[Row]:
    """Preorder without recursion: stacks may be deeper than Python's."""
    waiting = [(0, root)]
    while waiting:
        level, node = waiting.pop()
        yield Row(level, node.label, node.total, node.own)
        children = [child for child in node.children.values() if child.total >= least]
        children.sort(key=lambda child: (child.total, child.label.title))
        waiting.extend((level + 1, child) for child in children)


def _short(build_id: str) -> str:
    return build_id[:BUILD_ID_DIGITS]
