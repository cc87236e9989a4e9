"""Graph, eager and XLA of one op: same bits, within some ULP, or wrong against float64."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from bench import cli, verdict
from bench.report.build import details, matrix
from bench.report.build.executions import agreement_text, executions
from bench.report.build.upgrade import packages_sentence
from bench.store import run as store
from bench.store.kept_values import StoredValues
from bench.suite import kept_values
from bench.verdict.execution import agreement, ways
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from pathlib import Path

    from bench.verdict.results import RunResults

COLUMN = factory.column().id
KERNELS = tuple(factory.kernel(name) for name in ("softmax", "softmax_xla", "sum", "varies"))


def behave(spot: Spot) -> Behaviour:
    """Eager differs in ``softmax`` only, XLA is wrong, and one kernel is nondeterministic."""
    if spot.kernel.startswith("control"):
        return EXACT
    if spot.kernel == "varies":
        return Behaviour(("a", "b"))
    if spot.kernel == "softmax_xla":
        return Behaviour(("xla",), errors={"out": {"max": 0.5, "rms": 0.5}})
    if spot.kernel == "softmax":
        bits = "eager" if spot.variation == "eager=on" else "graph"
        return Behaviour((bits,), errors={"out": {"max": 1e-7, "rms": 1e-8}})
    return Behaviour()


@pytest.fixture(scope="module")
def results() -> RunResults:
    facts = factory.info(kernels=(*KERNELS, *factory.CONTROLS), variations={"default": (), "eager=on": ()})
    return verdict.evaluate(factory.run(facts, behave))


def found(results: RunResults, kernel: str, variation: str, other: str = "") -> str:
    first, second = (
        results.of(COLUMN, name, where, "off") for name, where in ((kernel, "default"), (other or kernel, variation))
    )
    assert first is not None
    assert second is not None
    return agreement_text(agreement(results.kept, first, second), "graph", "other")


def test_equal_outputs_have_the_same_bits(results: RunResults) -> None:
    assert found(results, "sum", "eager=on") == "same bits"


def test_differing_outputs_are_some_ulp_apart_in_the_kept_elements(results: RunResults) -> None:
    text = found(results, "softmax", "eager=on")
    assert text.startswith("within ")
    assert " ULP (in 25" in text  # the factory keeps at most 256 elements
    assert text.endswith(" of 4096 elements)")


def test_the_side_that_is_wrong_against_float64_is_named(results: RunResults) -> None:
    assert found(results, "softmax", "default", "softmax_xla").endswith("; other is wrong against float64 (out by 0.5)")


def test_what_is_nondeterministic_is_not_compared(results: RunResults) -> None:
    text = found(results, "varies", "eager=on")
    assert text.startswith("not compared (varies is nondeterministic (default)")


def test_a_nondeterministic_side_differs_from_a_reproducible_one(results: RunResults) -> None:
    assert found(results, "varies", "default", "sum") == "different (varies is nondeterministic (default))"


def test_values_that_were_not_kept_are_only_known_to_differ(results: RunResults) -> None:
    first, other = (results.of(COLUMN, "softmax", name, "off") for name in ("default", "eager=on"))
    assert first is not None
    assert other is not None
    assert agreement(StoredValues(), first, other).word == "different"


def test_nan_on_one_side_is_no_distance(results: RunResults) -> None:
    first, other = (results.of(COLUMN, "softmax", name, "off") for name in ("default", "eager=on"))
    assert first is not None
    assert other is not None
    rows = dict(results.kept.rows)
    digest = other.comparison.digests[0][0]
    rows["softmax", digest] = (kept_values.keep("out", None, factory.array(digest) * float("nan"), digest, 256),)
    assert agreement(StoredValues(rows=rows), first, other).why == "NaN or infinity on one side only"


def test_an_error_that_is_not_finite_is_wrong(results: RunResults) -> None:
    first = results.of(COLUMN, "softmax", "default", "off")
    assert first is not None
    infinite = dataclasses.replace(first, errors={"out": {}})
    assert agreement(results.kept, first, infinite).wrong == {"other": {"out": float("inf")}}


def test_a_kernel_is_compared_with_its_eager_and_its_xla_form(results: RunResults) -> None:
    assert list(ways(results, COLUMN, "softmax", "off")) == ["eager (eager=on)", "XLA (softmax_xla)"]
    assert list(ways(results, COLUMN, "sum", "off")) == ["eager (eager=on)"]


def test_the_details_of_a_kernel_say_how_its_forms_agree(results: RunResults) -> None:
    rows = [row for family in matrix.families(results) for row in family.rows]
    (detail,) = (one for one in details.details(results, rows) if one.kernel == "softmax")
    (note,) = (one for one in detail.notes if one.label == "Execution")
    assert note.sentences[0].startswith("Graph and eager (eager=on): within ")
    assert "XLA is wrong against float64" in note.sentences[1]


def test_two_variations_are_compared_for_every_kernel(results: RunResults) -> None:
    whole = executions(results, "default", "eager=on")
    assert [(row.first, row.mode) for row in whole.rows][:2] == [
        ("softmax (default)", "off"),
        ("softmax (default)", "on"),
    ]
    assert whole.sentence.startswith("8 comparisons of default with eager=on: ")
    assert whole.compared == 6
    assert len(executions(results, "default", "eager=on", ("on",), ("su*",)).rows) == 1


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    facts = factory.info(kernels=(*KERNELS, *factory.CONTROLS), variations={"default": (), "eager=on": ()})
    folder = tmp_path / "runs" / facts.id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(facts.to_json(), encoding="utf-8")
    monkeypatch.setattr(store, "load", lambda _: factory.run(facts, behave))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["default", "eager=on", "--mode", "off"], 0, ["- sum (default), sum (eager=on)", "same bits", "within"]),
        (["softmax", "softmax_xla"], 0, ["- softmax, softmax_xla", "softmax_xla is wrong against float64"]),
        (["softmax", "softmax_xla", "--fail-on", "bits-changed"], 1, ["softmax_xla"]),
        (["sum", "sum", "--format", "markdown"], 0, ["| sum | sum | same bits |"]),
        (["varies", "varies"], 3, ["not compared"]),
    ],
)
def test_compare_takes_variations_and_kernels(
    reports: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: list[str]
) -> None:
    assert cli.main(["compare", *arguments, "--reports", str(reports)]) == code
    printed = capsys.readouterr().out
    assert all(word in printed for word in words), printed


def test_the_comparison_as_json(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "softmax", "softmax_xla", "--format", "json", "--reports", str(reports)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"][0]["ulps"] > 0
    assert document["rows"][0]["wrong"] == "softmax_xla is wrong against float64 (out by 0.5)"


@pytest.mark.parametrize(
    ("packages", "sentence"),
    [
        (
            {"TensorFlow": ("2.18.1", "2.21.0"), "Keras": ("3.15.1", "3.15.1"), "NumPy": ("2.0.2", "2.4.6")},
            "Changed besides TensorFlow: NumPy 2.0.2 to 2.4.6; stayed: Keras 3.15.1.",
        ),
        (
            {"TensorFlow": ("2.18.1", "2.21.0"), "Keras": ("3.15.1", "3.15.1")},
            "Changed: TensorFlow 2.18.1 to 2.21.0; stayed: Keras 3.15.1.",
        ),
        (
            {"TensorFlow": ("2.18.1", "2.18.1"), "protobuf": ("5.29.6", "")},
            "Stayed: TensorFlow 2.18.1; not known on both sides: protobuf.",
        ),
    ],
)
def test_every_upgrade_says_which_packages_changed(packages: dict[str, tuple[str, str]], sentence: str) -> None:
    assert packages_sentence(packages) == sentence
