"""The page of the suite says what the declarations say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bench.report.commands import kernels
from bench.suite.kernels import Kernel, all_kernels

if TYPE_CHECKING:
    from pathlib import Path


def declared(**changes: object) -> Kernel:
    facts: dict[str, object] = {
        "name": "mine",
        "family": "linalg",
        "exercises": "a | b",
        "shapes": "[2, 3]",
        "dtypes": "float32",
        "source": "a *star* and snake_case",
        "function": lambda _tf, _seed: dict,
    }
    return Kernel(**{**facts, **changes})  # type: ignore[arg-type]


def columns(line: str) -> list[str]:
    """The columns of a row; an escaped pipe does not end one."""
    return [column.strip() for column in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_kernel_is_mentioned_once() -> None:
    every = all_kernels()
    rows = [line for line in kernels.page(every.values()).splitlines() if line.startswith("| `")]
    assert [columns(row)[0].strip("`") for row in rows] == list(every)
    assert {len(columns(row)) for row in rows} == {6}


def test_families_have_headings_and_the_head_counts() -> None:
    every = all_kernels()
    page = kernels.page(every.values())
    families = list(dict.fromkeys(kernel.family for kernel in every.values()))
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == families
    assert f"{len(every)} kernels in {len(families)} families" in page


def test_pipes_and_markup_stay_text() -> None:
    (row,) = (line for line in kernels.page([declared()]).splitlines() if line.startswith("| `"))
    assert columns(row)[1] == r"a \| b"
    assert r"\*star\* and snake\_case" in row


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"portable": False}, "Keras"),
        ({"heavy": True}, "heavy"),
        ({"reference": lambda _seed: {}}, "error"),
        ({"gpu_control": True}, "GPU control"),
        ({"on_host": True}, "host"),
        ({"control": "must-differ", "rate": 0.1}, "must differ (0.1)"),
        ({"control": "must-not-differ"}, "must not differ"),
        ({}, ""),
    ],
)
def test_marks(changes: dict[str, object], mark: str) -> None:
    (row,) = (line for line in kernels.page([declared(**changes)]).splitlines() if line.startswith("| `"))
    assert columns(row)[-1] == mark


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_has_every_name_whole(width: int) -> None:
    every = all_kernels()
    lines = kernels.text(every.values(), width).splitlines()
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines[2:] if line and not line.startswith((" ", "["))]
    assert names == list(every)


def test_the_page_in_docs_is_up_to_date(root: Path) -> None:
    page = root / "docs" / "suite.md"
    assert page.is_file(), "write it with: python -m bench kernels --markdown > docs/suite.md"
    text = page.read_text(encoding="utf-8")
    assert text == kernels.page(all_kernels().values()), "python -m bench kernels --markdown > docs/suite.md"
