"""README and docs: links resolve, examples are valid, generated pages are up to date, and the README stays short."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from bench.plan.config_models import Matrix
from bench.report.commands import compare
from bench.verdict import gates
from tests.reference_pages import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def blocks(page: Path, kind: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [
        re.sub(r"^ {3}", "", block, flags=re.MULTILINE) if block.startswith("   ") else block
        for block in re.findall(rf"^ *```{kind}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_tables_of_matrix_toml_are_valid(page: Path) -> None:
    whole = tomllib.loads((ROOT / "matrix.toml").read_text(encoding="utf-8"))
    for block in blocks(page, "toml"):
        Matrix.model_validate({**whole, **tomllib.loads(block)}, strict=False)


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == PAGES[name](), "python -m tests.reference_pages"


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_every_gate_is_explained() -> None:
    named = re.findall(r"^\| `([\w-]+)`", (ROOT / "docs/how-to/ci-gate.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert named == [*sorted(gates.GATES, key=named.index), *compare.GATES]


def test_the_readme_has_500_to_700_words() -> None:
    prose = re.sub(r"```python\n.*?```", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert 500 <= len(prose.split()) <= 700
