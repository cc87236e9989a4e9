"""The Python API, on the shipped sample."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import api
from bench.errors import NothingError
from bench.verdict import Status

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> api.Results:
    return api.load(ROOT / "reports" / "sample")


def test_the_table_has_every_result_but_the_controls(results: api.Results) -> None:
    table = results.table()
    assert len(table) == sum(not one.control for one in results.evaluated.verdicts)
    assert {row["column"] for row in table} == {column.id for column in results.evaluated.info.columns}
    assert {row["mode"] for row in table} == {"off", "on"}
    assert {"default", "eager=on"} <= {row["variation"] for row in table}
    assert json.loads(json.dumps(table)) == table


def test_a_row_agrees_with_its_verdict(results: api.Results) -> None:
    row = next(one for one in results.rows if one.kernel == "matmul_f32" and one.mode == "on")
    one = results.evaluated.of(row.column, row.kernel, row.variation, row.mode)
    assert one is not None
    assert (row.status, row.family, row.variation) == (Status.REPRODUCIBLE, "linalg", "default")
    assert (row.compared, round(row.bound or 0, 2)) == (4, 0.53)
    assert row.digest == one.comparison.digests[0][0]
    assert row.median_seconds
    assert row.median_seconds > 0
    overhead = results.evaluated.overheads.get((row.column, row.kernel, row.variation))
    assert row.overhead == (overhead.ratio if overhead else None)
    assert row.significant == (overhead.significant if overhead else None)


def test_what_varies_has_no_single_digest(results: api.Results) -> None:
    rows = [one for one in results.rows if one.status == Status.NONDETERMINISTIC]
    assert rows
    assert all(one.digest is None for one in rows)


def test_an_unknown_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingError, match="no run 'nowhere'"):
        api.load("nowhere", reports=tmp_path)
    with pytest.raises(NothingError, match="no run in"):
        api.load(reports=tmp_path)


def test_the_documented_example_lists_what_is_not_exact(
    results: api.Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)[0]
    monkeypatch.chdir(ROOT)
    exec(example, {})  # noqa: S102  # the page's own code
    expected = [
        f"{row.column} {row.kernel} {row.variation} {row.status}"
        for row in results.rows
        if row.mode == "on" and row.status != Status.REPRODUCIBLE
    ]
    assert expected
    assert capsys.readouterr().out.splitlines() == expected
