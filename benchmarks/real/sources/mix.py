# SPDX-License-Identifier: Apache-2.0
"""What interpreters are asked to do: numbers, text, JSON, expressions, sorting; for ever."""

from __future__ import annotations

import json
import re

BODIES = 5
WORDS = re.compile(r"(\w+)\s*=\s*(\d+)")


def bodies(steps: int) -> list[list[float]]:
    places = [[i * 1.1, i * 0.7, i * 0.3] for i in range(BODIES)]
    speeds = [[0.01 * i, 0.02, -0.01] for i in range(BODIES)]
    for _ in range(steps):
        for i in range(BODIES):
            for j in range(i + 1, BODIES):
                apart = [a - b for a, b in zip(places[i], places[j], strict=True)]
                force = 0.001 / (sum(d * d for d in apart) + 0.1) ** 1.5
                for axis in range(3):
                    speeds[i][axis] -= apart[axis] * force
                    speeds[j][axis] += apart[axis] * force
        for place, speed in zip(places, speeds, strict=True):
            for axis in range(3):
                place[axis] += speed[axis]
    return places


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def text(lines: int) -> list[tuple[str, str]]:
    document = [{"name": f"n{i}", "value": i, "more": [str(i)] * 5} for i in range(lines)]
    words = json.dumps(document, indent=1) + " ".join(f"key{i} = {i}" for i in range(lines))
    found = WORDS.findall(words)
    json.loads(json.dumps(document))
    return sorted(found, key=lambda pair: pair[0][::-1])


while True:
    bodies(300)
    text(1000)
    fibonacci(18)
