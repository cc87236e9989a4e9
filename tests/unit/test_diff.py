"""What ``diff`` prints: the digests of a kernel, the most telling pair of them, and where they differ."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.errors import ConfigError
from bench.report.commands.diff import text
from bench.store.kept_values import StoredValues
from bench.suite import kept_values
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_report import HOSTILE

if TYPE_CHECKING:
    from bench.store.run import Run

COLUMN = factory.column().id


def only(**modes: Behaviour) -> Any:
    return lambda spot: modes.get(spot.mode, EXACT) if spot.kernel == "matmul" else EXACT


def printed(run: Run, column: str = COLUMN, kernel: str = "matmul", **options: Any) -> str:
    return text(run, evaluate(run), column, kernel, **options)


def short(name: str) -> str:
    """The beginning of a digest of matmul."""
    return factory.digest(f"matmul {name}")[:12]


def unwrapped(page: str) -> str:
    return " ".join(page.split())


def row(page: str, start: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(start))


def test_two_digests_of_one_nondeterministic_mode() -> None:
    page = printed(factory.run(None, only(on=Behaviour(("a", "a", "b")))))
    assert "nondeterministic under on." in unwrapped(page)
    assert f"{short('a')} (a) against {short('b')} (b): 1 of 1 tensor differs." in page
    assert "differs" in row(page, "output")
    assert "max diff" in row(page, "output")
    assert "on:\n  Round 1 repetition 0 compared with round 1 repetition 2, over all elements." in page
    line = row(page, short("b"))
    assert "default, on ×5" in line  # noqa: RUF001
    assert "round 1 repetition 2" in line
    assert line.endswith("yes")


def test_processes_that_agree_with_themselves_only_have_the_status_of_the_report() -> None:
    def by_process(spot: Spot) -> Behaviour:
        return Behaviour((f"{spot.round}",)) if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT

    page = unwrapped(printed(factory.run(None, by_process)))
    assert "reproducible-in-process under on." in page
    assert "nondeterministic" not in page


def test_off_against_on_where_neither_varies() -> None:
    page = printed(factory.run(None, only(off=Behaviour(("a",)), on=Behaviour(("b",)))))
    assert "within one variation and mode the bits were always equal." in unwrapped(page)
    assert f"{short('a')} (a) against {short('b')} (b)" in page
    assert row(page, short("a")).split()[1] == "A"
    assert row(page, short("b")).split()[1] == "B"


def test_two_variations_where_modes_agree() -> None:
    def narrow(spot: Spot) -> Behaviour:
        return Behaviour((spot.variation,)) if spot.kernel == "matmul" else EXACT

    page = printed(factory.run(factory.info(variations={"default": (), "isa=avx2": ()}), narrow))
    assert f"{short('default')} (a) against {short('isa=avx2')} (b)" in page


def test_digests_can_be_chosen() -> None:
    run = factory.run(None, only(on=Behaviour(("a", "b", "c"))))
    page = printed(run, digest_a=short("c")[:6], digest_b=short("same"))
    assert f"{short('c')} (a) against {short('same')} (b)" in page
    assert f"against {short('c')} (b)" in printed(run, digest_b=short("c").upper())
    assert "the same digest" in printed(run, digest_a=short("c"), digest_b=short("c"))
    with pytest.raises(ConfigError, match="No digest of this kernel begins with 'zz'") as caught:
        printed(run, digest_a="zz")
    assert short("a") in caught.value.hint


def test_a_prefix_of_many_digests_is_refused() -> None:
    run = factory.run(factory.info(repetitions=20), only(on=Behaviour(tuple(f"x{n}" for n in range(20)))))
    prefixes = [factory.digest(f"matmul x{n}")[0] for n in range(20)]
    twice = next(one for one in prefixes if prefixes.count(one) > 1)
    with pytest.raises(ConfigError, match=r"\d digests of this kernel begin with"):
        printed(run, digest_a=twice)


def test_a_kernel_with_one_digest() -> None:
    page = printed(factory.run())
    assert "one digest in 40 samples" in page
    assert "against" not in page


def test_a_mode_without_samples_says_why() -> None:
    bad = Behaviour(outcome="error", error_class="UnimplementedError", message="no")
    page = printed(factory.run(None, only(on=bad)))
    assert "one digest in 20 samples" in page
    assert "no sample in on: unsupported." in page
    page = printed(factory.run(None, only(on=bad, off=bad)))
    assert page.startswith(f"matmul in {COLUMN}: there is nothing to compare.")
    assert "no sample in on: error." in page
    assert "no sample in off: error." in page


def test_values_that_were_not_stored_are_named() -> None:
    page = printed(factory.run(None, only(off=Behaviour(("a",)), on=Behaviour(("b",))), keep=False))
    assert f"no values were stored of {short('a')} and {short('b')} (a run stores a limited amount)." in unwrapped(page)
    assert row(page, short("a")).endswith("no")


def test_digests_with_stored_values_are_preferred() -> None:
    facts = factory.info(repetitions=7)
    run = factory.run(facts, only(on=Behaviour(("a", "a", "a", "a", "b", "b", "c")), off=Behaviour(("a",))))
    rows = {key: kept for key, kept in run.kept.rows.items() if key != ("matmul", factory.digest("matmul b"))}
    page = printed(dataclasses.replace(run, kept=StoredValues(rows=rows)))
    assert f"{short('a')} (a) against {short('c')} (b)" in page


@pytest.mark.parametrize(
    ("column", "kernel", "what", "near"),
    [
        ("tf2.18.1-cpu-py311@gpu", "matmul", "column", COLUMN),
        (COLUMN, "matmull", "kernel", "matmul"),
        (COLUMN, "conv", "kernel", "conv2d"),
        (COLUMN, "", "kernel", "It has: matmul, conv2d"),
    ],
)
def test_unknown_names_get_near_ones(column: str, kernel: str, what: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"This run has no {what} ") as caught:
        printed(factory.run(), column, kernel)
    assert near in caught.value.hint


def training(steps: int) -> Run:
    """Two digests of a training of so many steps, which first differ at step 7 in a gradient."""
    run = factory.run(None, only(on=Behaviour(("a", "b"))))
    same = np.arange(6, dtype="float32").reshape(2, 3)
    moved = same.copy()
    moved[1, 0] += np.float32(0.25)

    def tensors(own: str) -> tuple[dict[str, Any], ...]:
        rows = []
        for step in range(1, steps + 1):
            for name in ("loss", "gradient dense/kernel", "weight dense/kernel"):
                apart = own == "b" and (step > 7 or (step == 7 and name != "loss"))
                array = moved if apart else same
                rows.append(kept_values.keep(name, step, array, factory.digest(f"{name}{step}{apart}"), 32))
        return (*rows, kept_values.keep("out", None, moved if own == "b" else same, factory.digest(f"out{own}"), 256))

    rows = {("matmul", factory.digest(f"matmul {own}")): tensors(own) for own in "ab"}
    return dataclasses.replace(run, kept=StoredValues(rows=rows))


def test_a_training_shows_the_step_where_it_first_differs() -> None:
    page = printed(training(9))
    assert "9 of 28 tensors differ." in page
    lines = page.splitlines()
    table = lines[next(place for place, line in enumerate(lines) if line.startswith("step")) + 2 :]
    assert table[0].split() == ["1", "to", "7", "(19", "tensors)", "same"]
    assert table[1].split()[:6] == ["7", "gradient", "dense/kernel", "differs", "[1,", "0]"]
    assert table[1].split()[6:8] == ["3", "3.25"]


def test_long_trainings_are_cut() -> None:
    page = printed(training(200))
    assert "more rows)" in page
    assert len(page.splitlines()) < 150


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_the_terminal(width: int) -> None:
    facts = factory.info(variations=dict.fromkeys(("default", "threads=4xcores", "isa=avx2"), ()))
    run = factory.run(facts, only(off=Behaviour(("a",)), on=Behaviour(("b",))))
    page = printed(run, width=width)
    lines = page.splitlines()
    rules = [line for line in lines if line and set(line) <= {"-", " "}]
    assert len(rules) == 2
    assert max(map(len, rules)) <= width


def test_hostile_names_stay_text() -> None:
    facts = factory.info(kernels=(factory.kernel(HOSTILE), *factory.CONTROLS))
    run = factory.run(facts, lambda spot: Behaviour(("a", "b")) if spot.kernel == HOSTILE else EXACT)
    page = printed(run, kernel=HOSTILE)
    with pytest.raises(ConfigError) as caught:
        printed(run, column=HOSTILE)
    for harm in ("\x00", "\x1b", "\u202e", "\ud800"):
        assert harm not in page + str(caught.value) + caught.value.hint


@pytest.mark.parametrize("name", ["tf2.18.1-cpu", "tf2.18.1-cpu-py311", "tf2.18.1-cpu-py311@cpu"])
def test_a_column_may_be_named_by_its_pair(name: str) -> None:
    run = factory.run()
    assert text(run, evaluate(run), name, "matmul").startswith("matmul in tf2.18.1-cpu-py311@cpu: ")
