"""The plan of the house: which room may know which. No import runs upwards."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: Room -> rooms of the package that it may import (besides itself and ``bench.errors``).
MAY_KNOW = {
    "suite": set[str](),
    "console": set[str](),
    "host": {"gpu"},
    "away": {"suite"},
    "gpu": set[str](),
    "plan": {"suite", "gpu"},
    "engines": {"plan", "suite", "gpu"},
    "store": {"suite", "away"},
    "verdict": {"store", "suite"},
    "report": {"verdict", "store", "suite"},
    "api": {"verdict", "store"},
    "bundle": {"plan", "engines", "store", "suite", "gpu", "away", "host"},
    "doctor": {"plan", "engines", "gpu", "suite", "host", "console"},
    "rounds": {"away", "plan", "engines", "store", "suite", "console", "gpu"},
    "course": {"away", "plan", "engines", "store", "suite", "console", "rounds"},
    "runner": {"away", "plan", "engines", "store", "suite", "host", "console", "gpu", "rounds", "course"},
}


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_only_what_lies_below(house: Path, room: str) -> None:
    place = house / "bench" / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for parts in (name.split(".") for name in names):
                if parts[0] == "bench" and len(parts) > 1:
                    known = {room, "errors", *MAY_KNOW[room]}
                    assert parts[1] in known, f"{file.name} of {room} imports {'.'.join(parts)}"
