"""What was once said wrongly and comfortably by a comparison, a choice or the page; comments say what was said."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli, verdict
from bench.report.build.previous_run import since
from bench.report.build.upgrade import upgrades
from bench.report.commands import compare
from bench.store import import_records
from bench.store import run as store
from bench.store.previous_run import previous_run
from bench.store.run import Run
from bench.verdict import evaluate
from bench.verdict.comparability import Side
from bench.verdict.comparison import Conclusion, Event, change
from bench.verdict.ranking import Fit, choose
from bench.verdict.requirements import Requirements
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.verdict.comparison import KernelChange
    from bench.verdict.results import RunResults

HOST = {"name": "box", "cpu": "Example", "cores": "2"}
BOTH = (factory.column("2.18.1"), factory.column("2.21.0"))
EARLY, LATE = "20250120T120000Z-0000", "20250130T120000Z-0000"


def one_kernel(acts: Callable[[Spot], Behaviour]) -> Callable[[Spot], Behaviour]:
    """Only matmul with determinism on is special."""
    return lambda spot: acts(spot) if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT


EXACTLY = one_kernel(lambda _: EXACT)
VARIES = one_kernel(lambda _: Behaviour(("a", "b")))
REFUSED = one_kernel(lambda _: Behaviour(outcome="error", error_class="UnimplementedError"))
CRASHES = one_kernel(lambda _: Behaviour(outcome="crashed"))
CRASHES_ONCE = one_kernel(lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else EXACT)
CRASHES_ONCE_AND_VARIES = one_kernel(
    lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else Behaviour(("a", "b"))
)


def measured(name: str, acts: Callable[[Spot], Behaviour] = EXACTLY, **changes: Any) -> RunResults:
    """A run of the day in its name, in processes of its own."""
    day = f"{name[:4]}-{name[4:6]}-{name[6:8]}"
    run = factory.run(factory.info(**{"id": name, "started": f"{day}T12:00:00+00:00", "host": HOST, **changes}), acts)
    return evaluate(
        factory.changed(
            run,
            lambda one: dataclasses.replace(
                one,
                processes=tuple(dataclasses.replace(old, started=f"{day}{old.started[10:]}") for old in one.processes),
            ),
        )
    )


def matmul(old: RunResults, new: RunResults) -> KernelChange:
    column = new.info.columns[0].id
    found = change(Side(results=old, column=column), Side(results=new, column=column))
    return next(one for one in found.kernels if (one.kernel, one.mode) == ("matmul", "on"))


# A run of one column (or of one mode, or without a variation) between two nightly ones is taken for the last run of
# its kind: what the nightly one had measured besides is shown as new, and what got worse there is shown by nobody.
@pytest.mark.parametrize(
    "narrower",
    [{"columns": BOTH[:1]}, {"modes": ("off",)}, {"variations": {"default": ()}}],
    ids=["column", "mode", "variation"],
)
def test_a_narrower_run_between_two_is_not_the_last_one_of_its_kind(tmp_path: Path, narrower: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"columns": BOTH, "variations": {"default": (), "threads=1": ()}, "host": HOST}
    days = {"20250110T120000Z-0000": whole, EARLY: {**whole, **narrower}, LATE: whole}
    info = factory.info()
    for name, facts in days.items():
        info = factory.info(id=name, started=f"2025-01-{name[6:8]}T12:00:00+00:00", **facts)
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(info.to_json(), encoding="utf-8")
    found = previous_run(tmp_path / "runs" / LATE, info).folder
    assert found is not None
    assert found.name == "20250110T120000Z-0000"


# "Nothing changed: 2 of 2 results keep status and bits", and no note: what only one of the runs has is not mentioned.
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"kernels": (factory.kernel("matmul"), *factory.CONTROLS)}),
        ({"modes": ("off",)}, {}),
        ({"variations": {"default": (), "threads=1": ()}}, {}),
        ({}, {"variations": {"default": (), "threads=1": ()}}),
    ],
    ids=["kernel gone", "mode new", "variation gone", "variation new"],
)
def test_what_only_one_run_has_is_told_since_the_last_run(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = since(measured(LATE, **new), measured(EARLY, **old))
    actual = " ".join((found.sentence, *found.notes))
    assert "removed" in actual or "added" in actual


# The only event is "more evidence", and every gate of `compare` passes: exit code 0. The kernel's bits were the
# same so far, and vary now.
def test_weak_bits_that_vary_now_pass_no_gate() -> None:
    found = matmul(measured(EARLY, EXACTLY, rounds=3), measured(LATE, VARIES, rounds=3))
    gated = frozenset().union(*(compare.GATES[word] for word in ("regressed", "errors", "failures")))
    assert gated & set(found.events)


# "No change was seen: ... 1 are still nondeterministic or still fail": one crash of five led both verdicts, and hides
# the rest.
@pytest.mark.parametrize("new", [CRASHES, CRASHES_ONCE_AND_VARIES], ids=["all crash", "the others vary now"])
def test_a_crash_that_leads_does_not_hide_what_got_worse(new: Callable[[Spot], Behaviour]) -> None:
    assert matmul(measured(EARLY, CRASHES_ONCE), measured(LATE, new)).conclusion is not Conclusion.AS_BEFORE


# Equal bits with NaN before and other ones now neither vary nor raise nor fail "as before": they are not compared.
def test_other_bits_with_nan_are_not_as_before() -> None:
    old, new = Behaviour(nan=True), Behaviour(("new",), nan=True)
    sides = measured(EARLY, one_kernel(lambda _: old)), measured(LATE, one_kernel(lambda _: new))
    assert matmul(*sides).conclusion is Conclusion.UNKNOWN


# `choose --gpu "RTX 2080"` says that a pair fits which was measured on an RTX 2080 Ti: another chip.
@pytest.mark.parametrize(
    ("requested", "device"),
    [("rtx-2080", "rtx-2080-ti"), ("rtx-4090", "rtx-4090-laptop-gpu"), ("a100", "a100-sxm4-40gb-mig-1g-5gb")],
)
def test_another_chip_whose_name_only_begins_alike_is_no_evidence(requested: str, device: str) -> None:
    column = factory.column("2.18.1", "12.5", device=device, id=f"tf2.18.1-cuda12.5-py311@{device}")
    (found,) = choose(measured(LATE, columns=(column,)), Requirements(device=requested))
    assert found.fit is Fit.UNKNOWN


# "at most x1.15 each" is said to fit though a timed variation is known to cost five times as much: only the first
# variation's overhead is looked at, and neither the rules on the page nor the answer say so.
def test_a_overhead_that_is_known_to_be_above_under_another_variation_does_not_fit() -> None:
    def dear(spot: Spot) -> Behaviour:
        times = 5 if (spot.variation, spot.mode) == ("threads=1", "on") else 1
        return EXACT if spot.kernel.startswith("control") else Behaviour(steady_s=(times * (1 + spot.round / 1000),))

    found = measured(LATE, dear, variations={"default": (), "threads=1": ()}, rounds=6)
    (best,) = choose(found, Requirements(max_overhead=1.15))
    assert best.fit is Fit.FITS
    (best,) = choose(found, Requirements(max_overhead=1.15, variations=("threads=1",)))
    assert best.fit is not Fit.FITS


# Half a driver's version is its beginning, as for columns that were measured: 525.60.13 can run these, so the rules
# block none of them. With the first number alone (525) it is right.
def test_the_beginning_of_a_driver_blocks_only_what_none_of_them_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["choose", "--run", "reports/sample", "--gpu", "h100", "--driver", "525.60", "--format", "json"])
    actual = json.loads(capsys.readouterr().out)["candidates"]
    assert not [one["column"] for one in actual if any("driver 525.60 < 525.60.13" in text for text in one["reasons"])]


# "1 result changed (stops raising an error 1)", as good news: it was unsupported, and is silently nondeterministic now.
@pytest.mark.parametrize("before", [REFUSED, CRASHES], ids=["refused", "crashed"])
@pytest.mark.parametrize(
    "now",
    [VARIES, one_kernel(lambda s: Behaviour((str(s.round),)))],
    ids=["nondeterministic", "from process to process"],
)
def test_what_was_refused_and_varies_now_starts_varying(
    before: Callable[[Spot], Behaviour], now: Callable[[Spot], Behaviour]
) -> None:
    found = matmul(measured(EARLY, before), measured(LATE, now))
    assert found.events[0] is Event.NONDETERMINISTIC
    assert compare.GATES["regressed"] & set(found.events)


# "less evidence" passed every usual gate: the GPU was gone, or determinism was never on.
def test_a_column_that_is_no_longer_known_exact_breaks_the_usual_gate() -> None:
    off = factory.changed(factory.run(), factory.settings(determinism_enabled=False), factory.Change(mode="on"))
    found = matmul(measured(EARLY), evaluate(off))
    assert found.events == (Event.UNCONFIRMED,)
    assert Event.UNCONFIRMED in compare.GATES["regressed"]


def slow(factor: float) -> Callable[[Spot], Behaviour]:
    return lambda s: (
        EXACT if s.kernel.startswith("control") else Behaviour(steady_s=(factor * 0.001 * (1 + s.round / 1000),))
    )


# "Nothing changed" and exit code 0 for --fail-on slower:1.10, with ten times the time: no time was compared, for the
# host has no name, or another one, and nobody said so.
@pytest.mark.parametrize(
    ("host", "why"), [({}, "the host has no name"), ({**HOST, "name": "other"}, "another host")], ids=["none", "other"]
)
def test_a_gate_on_times_is_not_passed_where_none_was_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: dict[str, str],
    why: str,
) -> None:
    before = HOST if host else {}
    runs = {EARLY: measured(EARLY, slow(1), host=before), LATE: measured(LATE, slow(10), host=host)}
    for name, results in runs.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(results.info.to_json(), encoding="utf-8")
    monkeypatch.setattr(store, "load", lambda folder: folder.name)
    monkeypatch.setattr(verdict, "evaluate", lambda name: runs[name])
    words = ["compare", EARLY, LATE, "--reports", str(tmp_path), "--fail-on"]
    assert cli.main([*words, "slower:1.10"]) == 3
    actual = capsys.readouterr()
    out, err = (" ".join(text.split()) for text in actual)
    assert "Nothing that the gate slower is about could be compared, so it did not pass." in err
    assert f"not compared: times of 4 of 4 results, TF 2.18.1 CPU, {EARLY} to {LATE}: {why} (4)" in err
    assert f"no time compared ({why})" in out or "not compared" in out
    assert cli.main([*words, "regressed"]) == 0


# The overhead was that of first calls, x1.00 for a kernel whose calls take five times as long: one process of twelve
# had no steady times.
def test_one_process_without_times_does_not_make_an_overhead_of_first_calls() -> None:
    def acts(spot: Spot) -> Behaviour:
        if spot.kernel.startswith("control"):
            return EXACT
        if (spot.kernel, spot.mode, spot.round) == ("matmul", "off", 6):
            return Behaviour(steady_s=(), first_s=0.05)
        time = 0.001 * (5 if spot.mode == "on" else 1) * (1 + spot.round / 1000)
        return Behaviour(steady_s=(time,) * 3, first_s=0.05)

    found = measured(LATE, acts, rounds=6)
    overhead = found.overhead(found.info.columns[0].id, "matmul")
    assert overhead is not None
    assert overhead.ratio == pytest.approx(5, rel=0.01)
    (best,) = choose(found, Requirements(kernels=("matmul",), max_overhead=1.15))
    assert best.fit is not Fit.FITS


# "fits", though under another variation the calls with determinism on were timed, and nobody knows what they cost.
def test_a_overhead_that_is_not_known_under_another_variation_does_not_fit() -> None:
    def acts(spot: Spot) -> Behaviour:
        if (spot.variation, spot.mode, spot.kernel) == ("threads=1", "off", "matmul"):
            return Behaviour(outcome="crashed")
        return EXACT

    found = measured(LATE, acts, variations={"default": (), "threads=1": ()}, rounds=6)
    found = evaluate(_threads(found))
    (best,) = choose(found, Requirements(kernels=("matmul",), max_overhead=100.0, variations=("threads=1",)))
    assert best.fit is not Fit.FITS


# "Nothing changed: 4 of 4 results keep status and bits", while a column was gone, or could not be compared at all.
@pytest.mark.parametrize(
    "new",
    [
        {"columns": BOTH[:1]},
        {"columns": (BOTH[0], dataclasses.replace(BOTH[1], origin={"name": "elsewhere", "engine": "venv"}))},
    ],
    ids=["gone", "of another host"],
)
def test_a_column_that_is_not_compared_is_no_nothing_changed(new: dict[str, Any]) -> None:
    found = since(measured(LATE, **new), measured(EARLY, columns=BOTH))
    assert found.sentence == "No change was seen: 4 of 4 results keep status and bits; 1 column not compared."
    assert not found.quiet


# "TensorFlow 2.18.1 to 2.21.0 alone.", though the second column ran with more threads, on another CPU.
def test_a_step_of_which_processes_tell_more_is_of_no_one_alone() -> None:
    run = factory.run(factory.info(columns=BOTH))
    more = factory.facts_of_process(isa="avx2")
    found = evaluate(factory.changed(run, more, factory.Change(column=BOTH[1].id)))
    (step,) = upgrades(found)
    assert not step.alone
    assert step.changed_facts.endswith("Also instruction set avx512f to avx2: no single change explains the results.")
    (plain,) = upgrades(evaluate(run))
    assert plain.alone
    assert plain.changed_facts == "TensorFlow 2.18.1 to 2.21.0 alone."


# Exit code 0 where nothing at all came of determinism on: every kernel crashed, or it was never on.
@pytest.mark.parametrize(
    "change",
    [
        lambda run: factory.run(run.info, lambda s: Behaviour(outcome="crashed") if s.mode == "on" else EXACT),
        lambda run: factory.changed(run, factory.settings(determinism_enabled=False), factory.Change(mode="on")),
        lambda run: factory.without(run, factory.Change(mode="on")),
        lambda run: dataclasses.replace(run, info=dataclasses.replace(run.info, suite_hash="0" * 64)),
    ],
    ids=["crashed", "never on", "no record", "outdated"],
)
def test_a_run_without_a_result_is_no_success(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Run], Run],
) -> None:
    run = change(factory.run())
    monkeypatch.setattr(store, "load", lambda _, **__: run)
    assert cli.main(["report", str(tmp_path), "--reports", str(tmp_path / "out"), "--fail-on", "none"]) == 3
    assert "No kernel gave a result with determinism on." in capsys.readouterr().err
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_column_whose_processes_saw_no_gpu_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = factory.column(cuda="12.5")
    run = factory.run(factory.info(columns=(factory.column(), gpu)))
    run = factory.changed(run, factory.settings(devices=["/device:CPU:0"]), factory.Change(column=gpu.id))
    monkeypatch.setattr(store, "load", lambda _, **__: run)
    assert cli.main(["report", str(tmp_path), "--reports", str(tmp_path / "out"), "--fail-on", "none"]) == 5
    assert f"not measured completely: {gpu.id}" in capsys.readouterr().err


# Exit code 0 for a finished run of which a part of the records is missing.
@pytest.mark.parametrize("lost", [factory.Change(column=BOTH[1].id), factory.Change(mode="on", rounds=(5,))])
def test_a_run_without_all_planned_records_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: factory.Change
) -> None:
    run = factory.run(factory.info(columns=BOTH))
    words = ["report", str(tmp_path), "--reports", str(tmp_path / "out"), "--fail-on", "none"]
    monkeypatch.setattr(store, "load", lambda _, **__: run)
    assert cli.main(words) == 0
    monkeypatch.setattr(store, "load", lambda _, **__: factory.without(run, lost))
    assert cli.main(words) == 4
    assert BOTH[1].id in capsys.readouterr().err


def test_what_was_reused_elsewhere_is_still_reused_here() -> None:
    theirs = factory.info(id="theirs", columns=(BOTH[1],), reused={"records/x": "run"})
    assert import_records.merged(factory.info(columns=(BOTH[0],)), theirs).reused == {"records/x": "run"}


def _threads(results: RunResults) -> Run:
    """The run behind a results, its processes with the threads of their variation."""
    records = {kept.path: kept.record for group in results.groups.values() for kept in group}
    run = Run(info=results.info, records=records, unreadable={})
    return factory.changed(run, factory.settings(intra_op_threads=1), factory.Change(variation="threads=1"))
