"""The table of faults in the documentation lists exactly the tests with the marker ``fault``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The greatest part of a row that no test run changes: everything before the outcome.
OUTCOME = " | "


def rows(text: str) -> list[str]:
    """The rows of the table without their outcomes."""
    return [line.rpartition(OUTCOME)[0] for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_table_lists_the_marked_tests(root: Path, tmp_path: Path) -> None:
    marked = [
        str(path) for path in sorted((root / "tests").rglob("test_*.py")) if "mark.fault(" in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "fault", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--faults", str(tmp_path / "faults.md"), *marked],
        cwd=root, env={**os.environ, "TFREPRO_REQUIRE_DOCKER": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    committed = (root / "docs" / "reference" / "faults.md").read_text("utf-8")
    assert rows(committed) == rows((tmp_path / "faults.md").read_text("utf-8")), "nox -s faults writes it again"
    assert len(rows(committed)) >= 40
