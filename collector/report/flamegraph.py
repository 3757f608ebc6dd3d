# SPDX-License-Identifier: Apache-2.0
"""flamegraph.html: one file that needs no network and executes nothing but its own script.

Names come from profiled programs, so they may try to be markup. They travel as JSON in which
no `<` is left, reach the page as text only, and a content security policy allows just the one
script and the one style by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from pathlib import Path

from collector.report.frames import TITLES
from collector.report.tree import Label, Node, rows

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True, slots=True)
class Template:
    """The three parts of the page; read before the door closes."""

    markup: str
    style: str
    script: str


def template() -> Template:
    """The parts as they lie beside this module."""
    markup, style, script = (
        (PAGE / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    return Template(markup, style, script)


def render(root: Node, title: str, subtitle: str, parts: Template) -> str:
    """The page. title and subtitle are plain text, one line each."""
    policy = (
        f"default-src 'none'; style-src '{_hash(parts.style)}'; script-src '{_hash(parts.script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    values = {
        "POLICY": html.escape(policy),
        "TITLE": html.escape(title),
        "SUBTITLE": html.escape(subtitle),
        "STYLE": parts.style,
        "DATA": as_json(data(root)),
        "SCRIPT": parts.script,
    }
    # Split once, so that a value that holds a placeholder's name is not replaced again.
    first, *rest = parts.markup.split("@@")
    return first + "".join(values[one] if at % 2 == 0 else one for at, one in enumerate(rest))


def data(root: Node) -> dict[str, object]:
    """Nodes in preorder as parallel lists; labels and files are tables they point into."""
    kept, left_out = rows(root)
    labels: dict[Label, int] = {}
    for row in kept:
        labels.setdefault(row.label, len(labels))
    files = {file: at for at, file in enumerate(dict.fromkeys(one.file for one in labels))}
    return {
        "kinds": {kind.value: text for kind, text in TITLES.items()},
        "files": list(files),
        "titles": [one.title for one in labels],
        "kind": "".join(one.kind.value for one in labels),
        "file": [files[one.file] for one in labels],
        "buildIds": [one.build_id for one in labels],
        "level": [row.level for row in kept],
        "label": [labels[row.label] for row in kept],
        "total": [row.total for row in kept],
        "own": [row.own for row in kept],
        "leftOut": left_out,
    }


def as_json(value: object) -> str:
    """JSON that may stand inside a script element: `<`, `>` and `&` only as escapes."""
    text = json.dumps(value, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
