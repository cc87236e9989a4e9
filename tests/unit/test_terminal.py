"""What a terminal shows: the summary after a run, tables and commands that fit, and colour where it is supported."""

from __future__ import annotations

import dataclasses
import io
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cli
from bench.report.build.page import build
from bench.report.text import layout, summary
from bench.verdict import evaluate
from tests.fuzz import small_run
from tests.unit import factory, shipped_sample
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_renderers import MIXED, RUNS, view_named

if TYPE_CHECKING:
    from bench.report.view import View

PAGE = Path("/reports/index.html")
CODES = re.compile(r"\x1b\[\d*m")


def shown(view: View, width: int = 80, *, colour: bool = False) -> str:
    return summary.render(view, PAGE, width, colour=colour)


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", RUNS)
def test_a_summary_fits_a_screen(name: str, width: int) -> None:
    lines = shown(view_named(name), width).splitlines()
    assert len(lines) <= summary.LINES
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith(f"Page: {PAGE}")


def test_the_summary_of_the_sample() -> None:
    view = shipped_sample.view()
    text = shown(view)
    assert len(text.splitlines()) <= summary.LINES
    assert view.answer[0] in " ".join(text.split())
    assert "≠ nondeterministic 6: mlp_fit_xla (TF 2.15.1 CPU only)," in text
    assert "2 known issues\n" in text
    assert "∅ unsupported 2: " in text
    assert "Since the last run: There is no earlier run to compare with." in text


def test_the_summary_says_what_changed_and_what_warns() -> None:
    text = " ".join(shown(MIXED, 200).split())
    assert f"Since the last run ({MIXED.since.run}" in text
    assert MIXED.since.sentence in text
    assert "- Columns not measured: 1 of 3: build-failed 1." in text
    assert "- TF 2.16.2 CPU - build-failed: no wheel" in text
    assert "also under isa=avx2: † crashed 1: matmul - Crashed in 5 of 5 processes" in text


def test_what_no_known_issue_explains_comes_first() -> None:
    def behave(spot: Spot) -> Behaviour:
        return EXACT if spot.kernel.startswith("control") else Behaviour(("a", "b"))

    view = build(evaluate(factory.run(None, behave)))
    text = shown(view)
    assert "≠ nondeterministic 2: matmul and conv2d - no known issue explains this" in text
    assert "no longer" not in text


def test_long_sections_say_how_much_they_leave_out() -> None:
    many = tuple(dataclasses.replace(MIXED.notices[0], title=f"Notice {number}") for number in range(40))
    text = shown(dataclasses.replace(MIXED, notices=many))
    assert len(text.splitlines()) == summary.LINES
    listed = text.count("- Notice ")
    assert f"  and {40 - listed} more\n" in text


def test_colour_changes_nothing_but_colour() -> None:
    for name in RUNS:
        view = view_named(name)
        assert CODES.sub("", shown(view, colour=True)) == shown(view)
    assert "\x1b[31m† crashed\x1b[0m 1: matmul" in shown(MIXED, colour=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, "colour"),
        (io.StringIO(), {}, "plain"),
        (Terminal(), {"NO_COLOR": "1"}, "plain"),
        (Terminal(), {"NO_COLOR": ""}, "colour"),
        (Terminal(), {"TERM": "dumb"}, "plain"),
    ],
)
def test_colour_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, environment: dict[str, str], expected: str
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert layout.supports_colour(stream) is (expected == "colour")


def test_full_prints_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run.write(shipped_sample.SAMPLE, tmp_path / "run")
    command = ["report", str(tmp_path / "run"), "--reports", str(tmp_path)]
    assert cli.main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) <= summary.LINES
    assert cli.main([*command, "--full"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) > 2 * summary.LINES
    assert text.endswith(f"Page: {tmp_path / 'index.html'}\n")


# --- layout -------------------------------------------------------------------------------------------

CELLS = st.text(st.sampled_from("ab -\n"), max_size=40)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), st.sampled_from([30, 80]))
def test_a_table_fits_and_keeps_every_letter(rows: list[tuple[str, ...]], width: int) -> None:
    blocks = layout.table_blocks(rows, ("One", "Two", "Three"), width)
    assert len(blocks) == len(rows) + 1
    assert max(len(line) for block in blocks for line in block.split("\n")) <= width
    for row, block in zip(rows, blocks[1:], strict=True):
        assert sorted("".join(block.split())) == sorted("".join("".join(row).split()))


def test_a_table_breaks_no_word_that_fits() -> None:
    text = layout.table([["conv2d_bwd_filter_dilated", "some words " * 20]], ("Kernel", "What"), 60)
    assert "conv2d_bwd_filter_dilated" in text


@pytest.mark.parametrize(
    "command",
    [
        f"nox -s matrix -- --env {','.join(f'tf2.{minor}.1-cpu-py311' for minor in range(30))} --device cpu",
        "nox -s matrix -- --kernels 'my model,$(reboot)' --profile \"a b\" " + "--rounds 30 " * 12,
        "nox",
    ],
)
def test_a_command_can_be_copied(command: str) -> None:
    text = layout.command(command, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert shlex.split(text.replace("\\\n", "")) == shlex.split(command)
