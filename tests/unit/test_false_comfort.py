"""What was once said wrongly and comfortably by a comparison, a choice or the page; comments say what was said."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli
from bench.report import comparing
from bench.report.since import since
from bench.store.before import before
from bench.verdict import judge
from bench.verdict.change import Told, change
from bench.verdict.choice import Fit, choose
from bench.verdict.question import Question
from bench.verdict.sides import Side
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.verdict.change import KernelChange
    from bench.verdict.judgement import Judgement

HOST = {"name": "box", "cpu": "Example", "cores": "2"}
BOTH = (factory.cell("2.18.1"), factory.cell("2.21.0"))
EARLY, LATE = "20250120", "20250130"


def one_kernel(acts: Callable[[Spot], Behaviour]) -> Callable[[Spot], Behaviour]:
    """Only matmul with determinism on is special."""
    return lambda spot: acts(spot) if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT


EXACTLY = one_kernel(lambda _: EXACT)
VARIES = one_kernel(lambda _: Behaviour(("a", "b")))
CRASHES = one_kernel(lambda _: Behaviour(outcome="crashed"))
CRASHES_ONCE = one_kernel(lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else EXACT)
CRASHES_ONCE_AND_VARIES = one_kernel(
    lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else Behaviour(("a", "b"))
)


def measured(name: str, acts: Callable[[Spot], Behaviour] = EXACTLY, **changes: Any) -> Judgement:
    """A run of the day in its name, in processes of its own."""
    day = f"{name[:4]}-{name[4:6]}-{name[6:]}"
    run = factory.run(factory.info(**{"id": name, "started": f"{day}T12:00:00+00:00", "host": HOST, **changes}), acts)
    return judge(
        factory.changed(
            run,
            lambda one: dataclasses.replace(
                one,
                processes=tuple(dataclasses.replace(old, started=f"{day}{old.started[10:]}") for old in one.processes),
            ),
        )
    )


def matmul(old: Judgement, new: Judgement) -> KernelChange:
    cell = new.info.cells[0].id
    found = change(Side(judgement=old, cell=cell), Side(judgement=new, cell=cell))
    return next(one for one in found.kernels if (one.kernel, one.mode) == ("matmul", "on"))


# A run of one column (or of one mode, or without a condition) between two nightly ones is taken for the last run of
# its kind: what the nightly one had measured besides is told as new, and what got worse there is told by nobody.
@pytest.mark.parametrize(
    "narrower",
    [{"cells": BOTH[:1]}, {"modes": ("off",)}, {"conditions": {"default": ()}}],
    ids=["column", "mode", "condition"],
)
def test_a_narrower_run_between_two_is_not_the_last_one_of_its_kind(tmp_path: Path, narrower: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"cells": BOTH, "conditions": {"default": (), "threads=1": ()}, "host": HOST}
    days = {"20250110": whole, EARLY: {**whole, **narrower}, LATE: whole}
    info = factory.info()
    for name, facts in days.items():
        info = factory.info(id=name, started=f"2025-01-{name[6:]}T12:00:00+00:00", **facts)
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(info.to_json(), encoding="utf-8")
    found = before(tmp_path / "runs" / LATE, info).folder
    assert found is not None
    assert found.name == "20250110"


# "Nothing changed: 2 of 2 results keep status and bits", and no note: what only one of the runs has is not mentioned.
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"kernels": (factory.kernel("matmul"), *factory.CONTROLS)}),
        ({"modes": ("off",)}, {}),
        ({"conditions": {"default": (), "threads=1": ()}}, {}),
        ({}, {"conditions": {"default": (), "threads=1": ()}}),
    ],
    ids=["kernel gone", "mode new", "condition gone", "condition new"],
)
def test_what_only_one_run_has_is_told_since_the_last_run(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = since(measured(LATE, **new), measured(EARLY, **old))
    told = " ".join((found.sentence, *found.notes))
    assert "gone" in told or "new" in told


# The only event is "evidence is stronger", and every gate of `compare` passes: exit code 0. The kernel's bits were the
# same so far, and vary now.
def test_weak_bits_that_vary_now_pass_no_gate() -> None:
    found = matmul(measured(EARLY, EXACTLY, rounds=3), measured(LATE, VARIES, rounds=3))
    gated = frozenset().union(*(comparing.GATES[word] for word in ("lost", "raises", "fails")))
    assert gated & set(found.events)


# "Nothing changed: ... 1 vary, raise or fail as before": one crash of five led both verdicts, and hides the rest.
@pytest.mark.parametrize("new", [CRASHES, CRASHES_ONCE_AND_VARIES], ids=["all crash", "the others vary now"])
def test_a_crash_that_leads_does_not_hide_what_got_worse(new: Callable[[Spot], Behaviour]) -> None:
    assert matmul(measured(EARLY, CRASHES_ONCE), measured(LATE, new)).told is not Told.AS_BEFORE


# Equal bits with NaN before and other ones now neither vary nor raise nor fail "as before": they are not compared.
def test_other_bits_with_nan_are_not_as_before() -> None:
    old, new = Behaviour(nan=True), Behaviour(("new",), nan=True)
    sides = measured(EARLY, one_kernel(lambda _: old)), measured(LATE, one_kernel(lambda _: new))
    assert matmul(*sides).told is Told.UNKNOWN


# `choose --gpu "RTX 2080"` says that a pair fits which was measured on an RTX 2080 Ti: another chip.
@pytest.mark.parametrize(
    ("asked", "device"),
    [("rtx-2080", "rtx-2080-ti"), ("rtx-4090", "rtx-4090-laptop-gpu"), ("a100", "a100-sxm4-40gb-mig-1g-5gb")],
)
def test_another_chip_whose_name_only_begins_alike_is_no_evidence(asked: str, device: str) -> None:
    cell = factory.cell("2.18.1", "12.5", device=device, id=f"tf2.18.1-cuda12.5-py311@{device}")
    (found,) = choose(measured(LATE, cells=(cell,)), Question(device=asked))
    assert found.fit is Fit.UNKNOWN


# "at most x1.15 each" is said to fit though a timed condition is known to cost five times as much: only the first
# condition's price is looked at, and neither the rules on the page nor the answer say so.
def test_a_price_that_is_known_to_be_above_under_another_condition_does_not_fit() -> None:
    def dear(spot: Spot) -> Behaviour:
        times = 5 if (spot.condition, spot.mode) == ("threads=1", "on") else 1
        return EXACT if spot.kernel.startswith("control") else Behaviour(steady_s=(times * (1 + spot.round / 1000),))

    found = measured(LATE, dear, conditions={"default": (), "threads=1": ()}, rounds=6)
    (best,) = choose(found, Question(max_price=1.15))
    assert best.fit is not Fit.FITS


# Half a driver's version is its beginning, as for columns that were measured: 525.60.13 can run these, so the rules
# block none of them. With the first number alone (525) it is right.
def test_the_beginning_of_a_driver_blocks_only_what_none_of_them_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["choose", "--run", "reports/sample", "--gpu", "h100", "--driver", "525.60", "--format", "json"])
    told = json.loads(capsys.readouterr().out)["candidates"]
    assert not [one["cell"] for one in told if any("driver 525.60 < 525.60.13" in text for text in one["reasons"])]
