"""The layering of the package: which part may import which, and that no import cycle exists."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What every part may import.
ALWAYS = {"errors", "regular_file", "suggest", "__init__", "report.__init__"}
#: Part -> parts that it may import besides itself. Inside ``report`` every subpackage is a part.
ALLOWED: dict[str, set[str]] = {
    "suite": set(),
    "portable": {"suite"},
    "regular_file": set(),
    "suggest": set(),
    "gpu": set(),
    "host": {"gpu", "portable"},
    "plan": {"suite", "gpu"},
    "engines": {"portable", "plan", "suite", "gpu"},
    "store": {"suite", "portable"},
    "run": {"portable", "plan", "engines", "store", "suite", "host", "gpu"},
    "doctor": {"plan", "engines", "gpu", "suite", "host", "run"},
    "bundle": {"plan", "engines", "store", "suite", "gpu", "portable", "host"},
    "fleet": {"plan", "portable", "store", "suite", "gpu"},
    "verdict": {"store", "suite"},
    "history": {"verdict", "store", "suite", "portable"},
    "api": {"verdict", "store"},
    "report.formatting": set(),
    "report.labels": {"report.formatting", "verdict", "store"},
    "report.view": {"verdict", "store"},
    "report.build": {"report.view", "report.labels", "report.formatting", "history", "verdict", "store", "suite"},
    "report.html": {"report.view", "report.build", "report.labels", "report.formatting", "verdict", "store"},
    "report.text": {"report.view", "report.build", "report.labels", "report.formatting", "verdict", "store"},
    "report.json": {"report.view", "report.build", "report.labels", "report.formatting", "verdict", "store", "suite"},
    "report.commands": {
        *("report.view", "report.build", "report.json", "report.text", "report.labels", "report.formatting"),
        *("verdict", "store", "suite"),
    },
    "report.write": {"report.view", "report.build", "report.html", "report.json", "report.text", "verdict", "store"},
}
#: The only parts that see both measuring and reading.
TOP = {"cli", "__main__", "__init__", "report.__init__"}


def part(module: str) -> str:
    """The part of the package that a dotted module name belongs to."""
    names = module.split(".")[1:] or ["__init__"]
    if names[0] != "report":
        return names[0]
    return ".".join(names[:2]) if names[1:] else "report.__init__"


def modules(package: Path) -> dict[str, Path]:
    """All modules by dotted name; a package by its own name."""
    found = {}
    for path in sorted((package / "bench").rglob("*.py")):
        names = list(path.relative_to(package).with_suffix("").parts)
        found[".".join(names[:-1] if names[-1] == "__init__" else names)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports, also those for type checking only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in known else node.module for name in names}


def test_no_import_runs_upwards(root: Path) -> None:
    known = modules(root)
    wrong = []
    for module, path in known.items():
        own = part(module)
        if own in TOP:
            continue
        for target in imports(path, known):
            if part(target) not in {own, *ALWAYS, *ALLOWED.get(own, ())}:
                wrong.append(f"{module} imports {target}")
            elif part(target) == "report.__init__" and own.startswith("report"):
                wrong.append(f"{module} imports its own package")
    assert not wrong


def test_every_part_has_a_rule(root: Path) -> None:
    parts = {part(module) for module in modules(root)}
    assert parts - TOP - {"errors"} == set(ALLOWED)


def test_there_is_no_import_cycle(root: Path) -> None:
    known = modules(root)
    graph = {module: {name for name in imports(path, known) if name != module} for module, path in known.items()}
    while leaves := [module for module, targets in graph.items() if not targets & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph
