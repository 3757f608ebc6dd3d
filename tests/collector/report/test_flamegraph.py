# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from collector.model import Executable, Frame, Profile, Series
from collector.report import flamegraph, tree
from collector.report.merge import Merged

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "@@SCRIPT@@",
    "\u202eesrever\u2028\x00\x1b]0;x\x07",
    "\ud800",
    "${alert(1)}`",
)


def merged(profile: Profile) -> Merged:
    result = Merged()
    result.add(profile, profile.time_ns, profile.duration_ns)
    return result


def page(profile: Profile, title: str = "host", subtitle: str = "now") -> str:
    return flamegraph.render(tree.build(merged(profile)), title, subtitle, flamegraph.template())


def of(*stacks: tuple[str, ...], comm: str = "x") -> Profile:
    """One sample of each stack of function names, leaf first."""
    executable = Executable("/bin/x", "ab" * 20)
    samples = tuple((tuple(Frame(executable, 1, name, "f") for name in one), 1) for one in stacks)
    return Profile(1, 1, 1, (Series((("comm", comm),), samples),))


def shown_data(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    loaded = json.loads(found[1])
    assert isinstance(loaded, dict)
    return loaded


def test_the_tree_counts_totals_and_own_samples(profile: Profile) -> None:
    rows, left_out = tree.rows(tree.build(merged(profile)))
    assert [(row.level, row.label.title, row.total, row.own) for row in rows] == [
        (0, "all", 50, 0),
        (1, "python3", 50, 0),
        (2, "main", 49, 0),
        (3, "loop", 35, 35),
        (3, "read", 10, 0),
        (4, "vfs_read", 10, 10),
        (3, "libc.so.6+0x4000", 4, 4),
        (2, "[exited]", 1, 1),
    ]
    assert left_out == 0
    kinds = {row.label.title: row.label.kind.value for row in rows}
    assert (kinds["python3"], kinds["main"], kinds["vfs_read"], kinds["[exited]"]) == (*"pnku",)


def test_the_smallest_frames_are_left_out_and_no_frame_loses_its_caller(profile: Profile) -> None:
    rows, left_out = tree.rows(tree.build(merged(profile)), most=5)
    assert [row.label.title for row in rows] == ["all", "python3", "main", "loop"]
    assert len(rows) + left_out == 8


def test_a_stack_deeper_than_pythons_own_is_no_problem() -> None:
    deep = of(tuple(f"f{at}" for at in range(5000)))
    rows, _ = tree.rows(tree.build(merged(deep)))
    assert rows[-1].level == 5001
    assert page(deep)


def test_hostile_names_stay_text() -> None:
    text = page(of(HOSTILE, comm=HOSTILE[0]), title=HOSTILE[0], subtitle=HOSTILE[1])
    for name in HOSTILE[:3]:
        assert name not in text
    assert text.count("<script") == 2
    assert "\u202e" not in text
    titles = shown_data(text)["titles"]
    assert isinstance(titles, list)
    assert set(HOSTILE[:4]) <= set(titles)
    assert r"\u202eesrever\u2028\x00\x1b]0;x\x07" in titles
    text.encode("utf-8")


def test_only_its_own_script_and_style_may_run() -> None:
    text = page(of(("f",)))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    allowed = html.unescape(policy[1])
    assert allowed.startswith("default-src 'none';")
    for tag in ("style", 'script type="module"'):
        found = re.search(rf"<{tag}>(.*?)</{tag.split()[0]}>", text, re.DOTALL)
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in allowed


def test_it_needs_no_network() -> None:
    text = page(of(("f",)))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def many(nodes: int) -> Profile:
    """A profile whose tree has at least `nodes` frames."""
    stacks = [tuple(f"function_{at}_{level}" for level in range(10)) for at in range(nodes // 10)]
    return of(*stacks)


def test_ten_thousand_frames_are_all_there_in_a_small_file() -> None:
    text = page(many(10_000))
    levels = shown_data(text)["level"]
    assert isinstance(levels, list)
    assert len(levels) == 10_002
    assert len(text) < 1_000_000


CHROMIUM = shutil.which("chromium")


def browsed(path: Path, query: str = "") -> str:
    """The page as a browser shows it once its script has run."""
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--virtual-time-budget=3000", f"--user-data-dir={path.parent / 'browser'}"),
    )
    done = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", f"file://{path}{query}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
def test_a_browser_draws_it_searches_it_and_obeys_no_name(tmp_path: Path) -> None:
    path = tmp_path / "flamegraph.html"
    stacks = [HOSTILE, *[(f"f{at}", "common") for at in range(10_000)]]
    path.write_text(page(of(*stacks), title="host.example"))
    shown = browsed(path, "#q=common")
    assert "<title>host.example</title>" in shown
    assert "user native 100.0 %" in shown
    assert "10,001 samples" in shown
    assert "100.0 % in 1 frames" in shown
    assert shown.count("<img") == 0
