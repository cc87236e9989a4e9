"""Several hosts with one device model: agreement needs evidence from every host, and a host that differs is named."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.build.page import build
from bench.report.html import render as page
from bench.report.text import badge, job_summary, summary
from bench.verdict import EvidenceLevel, Status, evaluate, gate
from bench.verdict.host_groups import Agreement, HostGroup, HostResult
from bench.verdict.ranking import Fit, choose
from bench.verdict.requirements import Requirements
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record
    from bench.verdict.results import RunResults

PAIR = "tf2.18.1-cuda12.5-py311"


def column(host: str, model: str = "h100", tensorflow: str = "2.18.1", **changes: Any) -> ColumnInfo:
    """A GPU column of another host, with a GPU of its own; ``origin`` is added to the facts of the host."""
    origin = {
        "name": f"{host}.cluster", "cpu": "Xeon", "cores": "2", "engine": "docker", "run": "20250130T120000Z-abcd",
        "boot_id": f"boot of {host}",
        "started": "2025-01-30T12:00:00+00:00", "finished": "2025-01-30T12:10:00+00:00", **changes.pop("origin", {}),
    }  # fmt: skip
    facts = {
        "id": f"tf{tensorflow}-cuda12.5-py311@{model}-{host}", "device": model, "host": host, "gpu": f"GPU-{host}",
        **changes,
    }  # fmt: skip
    return factory.column(tensorflow, "12.5", origin=origin, **facts)


def run(*columns: ColumnInfo, behave: Callable[[Spot], Behaviour] = lambda _: EXACT, **changes: Any) -> Run:
    """A run with one kernel and the controls in these columns."""
    kernels = (factory.kernel("matmul"), *factory.CONTROLS)
    return factory.run(factory.info(**{"columns": columns, "kernels": kernels, **changes}), behave)


def on_host(host: str, act: Behaviour) -> Callable[[Spot], Behaviour]:
    """One host behaves differently for the kernel, all others are exact."""
    return lambda spot: act if spot.column.endswith(f"-{host}") and spot.kernel == "matmul" else EXACT


def edited(whole: Run, host: str, change: Callable[[Record], Record]) -> Run:
    """The run with every record of a host changed."""
    records = {
        path: change(record) if record.request.column.endswith(f"-{host}") else record
        for path, record in whole.records.items()
    }
    return dataclasses.replace(whole, records=records)


def with_provenance(record: Record, **facts: Any) -> Record:
    processes = (dataclasses.replace(one, provenance={**one.provenance, **facts}) for one in record.processes)
    return dataclasses.replace(record, processes=tuple(processes))


def group_of(whole: Run) -> HostGroup:
    (found,) = evaluate(whole).hosts
    return found


def outcome(whole: Run, mode: str = "on") -> HostResult:
    (found,) = [one for one in group_of(whole).results if one.mode == mode]
    return found


HOSTS = (column("gpu01"), column("gpu02"), column("gpu03"))


def dissent(host: str = "gpu03", columns: tuple[ColumnInfo, ...] = HOSTS) -> Run:
    return run(*columns, behave=on_host(host, Behaviour(("other bits",))))


# --- agreement and conflict ---------------------------------------------------------------------------


def test_equal_bits_on_all_hosts_are_the_strongest_level() -> None:
    results = evaluate(run(*HOSTS))
    assert {(one.agreement, one.why) for group in results.hosts for one in group.results} == {(Agreement.AGREE, "")}
    levels = {one.level for one in results.verdicts if not one.control}
    assert levels == {EvidenceLevel.SAME_ACROSS_HOSTS} == {max(EvidenceLevel)}


def test_one_host_alone_is_no_group() -> None:
    results = evaluate(run(HOSTS[0]))
    assert not results.hosts
    assert {one.level for one in results.verdicts if not one.control} == {EvidenceLevel.SAME_ACROSS_CONTAINERS}


def test_the_host_that_differs_from_a_majority_is_named() -> None:
    found = outcome(dissent())
    assert (found.agreement, found.dissenting) == (Agreement.CONFLICT, ("gpu03",))
    assert found.groups == (("A", ("gpu01", "gpu02")), ("B", ("gpu03",)))
    results = evaluate(dissent())
    assert EvidenceLevel.SAME_ACROSS_HOSTS not in {one.level for one in results.verdicts}


@pytest.mark.parametrize("columns", [HOSTS[1:], (*HOSTS, column("gpu04"))])
def test_without_a_majority_no_host_is_blamed(columns: tuple[ColumnInfo, ...]) -> None:
    odd = {"gpu03", "gpu04"}

    def behave(spot: Spot) -> Behaviour:
        return Behaviour(("b",)) if spot.column[-5:] in odd and spot.kernel == "matmul" else EXACT

    whole = run(*columns, behave=behave)
    found = outcome(whole)
    assert (found.agreement, found.dissenting) == (Agreement.CONFLICT, ())
    assert {name for _, names in found.groups for name in names} == set(group_of(whole).hosts)


def test_a_conflict_is_not_hidden_by_a_host_without_bits() -> None:
    def behave(spot: Spot) -> Behaviour:
        acts = {"gpu02": Behaviour(("b",)), "gpu03": Behaviour(("c", "d"))}
        return acts.get(spot.column[-5:], EXACT) if spot.kernel == "matmul" else EXACT

    found = outcome(run(*HOSTS, behave=behave))
    assert (found.agreement, found.dissenting, found.why) == (Agreement.CONFLICT, (), "nondeterministic on gpu03")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "varies", "error"]), min_size=2, max_size=5))
def test_agreement_is_one_digest_on_every_host(acts: list[str]) -> None:
    made = {"varies": Behaviour(("x", "y")), "error": Behaviour(outcome="error", error_class="E", message="m")}
    by_host = {f"n{place}": made.get(act, Behaviour((act,))) for place, act in enumerate(acts)}
    whole = run(
        *map(column, by_host),
        behave=lambda spot: by_host[spot.column.rpartition("-")[2]] if spot.kernel == "matmul" else EXACT,
        rounds=5,
    )
    found = outcome(whole)
    expected = (
        Agreement.CONFLICT if {"a", "b"} <= set(acts)
        else Agreement.AGREE if len(set(acts)) == 1 and acts[0] in ("a", "b") else Agreement.UNKNOWN
    )  # fmt: skip
    assert found.agreement is expected


# --- no false agreement -------------------------------------------------------------------------------


def test_one_host_under_two_names_is_no_evidence_of_another() -> None:
    same_name = column("gpu02", origin={"name": "GPU01.other-domain"})
    same_gpu = column("gpu02", gpu="GPU-gpu01")
    for other in (same_name, same_gpu):
        group = group_of(run(HOSTS[0], other))
        assert (group.results, group.same_host) == ((), ((HOSTS[0].id, other.id),))
        text = " ".join(build(evaluate(run(HOSTS[0], other))).hosts[0].sentences)
        assert text == (
            f"{HOSTS[0].id} and {other.id} are of one host by their records: together they are no evidence of another "
            "host."
        )


def test_two_containers_of_one_machine_are_no_evidence_of_another() -> None:
    one, other, third = (column(host, origin={"boot_id": boot}) for host, boot in (("a", "1"), ("b", "1"), ("c", "2")))
    group = group_of(run(one, other))
    assert (group.results, group.same_host) == ((), ((one.id, other.id),))
    assert outcome(run(one, third)).agreement is Agreement.AGREE


def test_hosts_whose_boot_is_not_known_may_be_containers_of_one_machine() -> None:
    named = run(HOSTS[0], column("gpu02", origin={"boot_id": ""}))
    assert not {one.agreement for group in evaluate(named).hosts for one in group.results} & {Agreement.AGREE}
    assert EvidenceLevel.SAME_ACROSS_HOSTS not in {verdict.level for verdict in evaluate(named).verdicts}


@pytest.mark.parametrize("unknown", [{"gpu01"}, {"gpu03"}, {"gpu02", "gpu03"}, {"gpu01", "gpu02", "gpu03"}])
def test_other_bits_are_a_conflict_also_where_a_host_is_not_known(unknown: set[str]) -> None:
    hosts = ("gpu01", "gpu02", "gpu03")
    columns = tuple(column(host, origin={"boot_id": ""} if host in unknown else {}) for host in hosts)
    results = evaluate(dissent(columns=columns))
    assert {one.fit for one in choose(results)} == {Fit.NOT}
    assert gate(results, ["host-conflict"])


def test_a_family_counts_no_kernel_that_hosts_disagree_about() -> None:
    texts = [one.text for family in build(evaluate(dissent())).needs for one in family.columns]
    assert texts == ["0 of 1"] * 3


def test_two_names_of_one_host_do_not_hide_other_bits() -> None:
    """Two machines may share a name: their columns are never safe where their bits differ."""
    columns = (HOSTS[0], column("gpu02", origin={"name": "gpu01"}))
    results = evaluate(run(*columns, behave=on_host("gpu02", Behaviour(("b",)))))
    assert Fit.FITS not in {one.fit for one in choose(results)}
    ids = " and ".join(one.id for one in columns)
    assert build(results).hosts[0].sentences[1] == (
        f"With determinism on: {ids} differ, without a majority, in 1: matmul."
    )


def two_gpus() -> list[ColumnInfo]:
    """The columns of two GPUs of one host."""
    return [dataclasses.replace(column(gpu, origin={"name": "box"}), host="") for gpu in ("1a2b", "3c4d")]


def test_two_gpus_of_one_host_with_other_bits_are_a_conflict() -> None:
    first, second = two_gpus()
    assert not evaluate(run(first, second)).hosts, "the same bits are no evidence of another host"
    results = evaluate(run(first, second, behave=on_host("3c4d", Behaviour(("b",)))))
    (group,) = results.hosts
    (found,) = group.of("on", Agreement.CONFLICT)
    assert found.groups == (("A", (first.id,)), ("B", (second.id,)))
    assert len(gate(results, ["host-conflict"])) == 1
    assert "Columns of the host" in " ".join(build(results).answer)


def test_what_differs_between_two_gpus_of_one_host_is_stated() -> None:
    first, second = two_gpus()
    second = dataclasses.replace(second, origin={**second.origin, "engine": "venv"})
    results = evaluate(run(first, second, behave=on_host("3c4d", Behaviour(("b",)))))
    assert results.hosts[0].differing["engine"] == (("docker", (first.id,)), ("venv", (second.id,)))
    assert build(results).hosts[0].sentences[-1] == "The columns also differ in engine: a conflict may come from that."


def test_a_poor_second_gpu_is_no_conflict() -> None:
    first, second = two_gpus()
    for poor in (Behaviour(("a", "b")), Behaviour(outcome="crashed")):
        assert not evaluate(run(first, second, behave=on_host("3c4d", poor))).hosts


def test_processes_with_one_host_name_are_of_one_host() -> None:
    whole = run(*HOSTS[:2])
    for host in ("gpu01", "gpu02"):
        whole = edited(whole, host, lambda record: with_provenance(record, hostname="box"))
    assert not group_of(whole).results


def test_a_host_that_the_records_do_not_name_is_no_evidence() -> None:
    nameless = dataclasses.replace(HOSTS[1], origin={**HOSTS[1].origin, "name": ""})
    assert not evaluate(run(HOSTS[0], nameless)).hosts


def test_two_columns_of_one_host_count_once() -> None:
    again = column("gpu01b", gpu="GPU-second", origin={"name": "gpu01.cluster"})
    other = on_host("gpu03", Behaviour(("b",)))
    found = outcome(run(HOSTS[0], again, HOSTS[2], behave=other))
    assert (found.agreement, found.dissenting) == (Agreement.CONFLICT, ())
    split = outcome(run(HOSTS[0], again, HOSTS[2], behave=on_host("gpu01b", Behaviour(("b",)))))
    assert (split.agreement, split.dissenting) == (Agreement.CONFLICT, (again.id,))
    assert split.groups == (("A", (HOSTS[0].id, "gpu03")), ("B", (again.id,)))


@pytest.mark.parametrize("unknown", ["gpu01", "gpu02", "gpu03"])
def test_a_host_with_unknown_code_does_not_join_hosts_with_different_code(unknown: str) -> None:
    known = {"gpu01": "1" * 64, "gpu02": "2" * 64, "gpu03": "3" * 64}
    whole = run(*HOSTS)
    for host, code in known.items():
        hashes = {} if host == unknown else {"matmul": code}
        whole = edited(whole, host, partial(with_provenance, kernel_hashes=hashes))
    assert outcome(whole).agreement is Agreement.UNKNOWN


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (Behaviour(("a", "b")), "nondeterministic on gpu02"),
        (Behaviour(outcome="error", error_class="E", message="m"), "error on gpu02"),
        (Behaviour(nan=True), "nan on gpu02"),
        (Behaviour(second_seed="same"), "control-failed on gpu02"),
    ],
)
def test_only_reproducible_results_agree(act: Behaviour, why: str) -> None:
    found = outcome(run(*HOSTS[:2], behave=on_host("gpu02", act)))
    assert (found.agreement, found.why) == (Agreement.UNKNOWN, why)


def test_too_few_processes_never_agree() -> None:
    assert outcome(run(*HOSTS, rounds=3)).agreement is Agreement.UNKNOWN


def test_what_a_host_did_not_measure_is_not_comparable() -> None:
    whole = run(*HOSTS[:2])
    records = {path: one for path, one in whole.records.items() if "gpu02" not in path or "/off" in path}
    found = outcome(dataclasses.replace(whole, records=records))
    assert (found.agreement, found.why) == (Agreement.UNKNOWN, "not-run on gpu02")


def test_other_work_is_not_compared() -> None:
    def other_code(record: Record) -> Record:
        return with_provenance(record, kernel_hashes={"matmul": "1" * 64})

    def known_code(record: Record) -> Record:
        return with_provenance(record, kernel_hashes={"matmul": "2" * 64})

    whole = edited(edited(run(*HOSTS[:2]), "gpu01", known_code), "gpu02", other_code)
    found = outcome(whole)
    assert (found.agreement, found.why) == (
        Agreement.UNKNOWN,
        "the kernel's code differs: not compared with gpu01 on gpu02",
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda record: dataclasses.replace(record, suite_hash="6" * 64),
        lambda record: dataclasses.replace(record, request=dataclasses.replace(record.request, seed=7)),
        lambda record: dataclasses.replace(
            record, request=dataclasses.replace(record.request, context={**record.request.context, "host": "gpu01"})
        ),
        lambda record: dataclasses.replace(
            record, request=dataclasses.replace(record.request, context={**record.request.context, "lock_hash": "1"})
        ),
    ],
)
def test_records_that_contradict_their_run_never_agree(change: Callable[[Record], Record]) -> None:
    groups = evaluate(edited(run(*HOSTS[:2]), "gpu02", change)).hosts
    assert Agreement.AGREE not in {one.agreement for group in groups for one in group.results}


@pytest.mark.parametrize(
    "other",
    [
        column("gpu02", lock_hash="1" * 64),
        column("gpu02", model="h200"),
        column("gpu02", tensorflow="2.19.1"),
        column("gpu02", lock_hash=""),
        column("gpu02", device="gpu"),
    ],
)
def test_other_environments_and_models_are_no_group(other: ColumnInfo) -> None:
    assert not evaluate(run(HOSTS[0], other)).hosts


def test_cpu_columns_are_grouped_by_the_model_of_the_cpu() -> None:
    def cpu(host: str, model: str) -> ColumnInfo:
        facts = {
            "cpu": model,
            **{key: HOSTS[0].origin[key] for key in ("cores", "engine", "run", "started", "finished")},
        }
        return factory.column(
            id=f"tf2.18.1-cpu-py311@cpu-{host}", host=host, origin={"name": host, "boot_id": host, **facts}
        )

    group = group_of(run(cpu("one", "Xeon"), cpu("two", "Xeon"), cpu("three", "EPYC")))
    assert (group.model, group.hosts) == ("Xeon", ("one", "two"))


# --- what else differs --------------------------------------------------------------------------------


def test_another_driver_is_stated_with_the_result() -> None:
    def newer(record: Record) -> Record:
        gpu = {**record.request.gpu, "driver": "560.35.03"}
        return dataclasses.replace(record, request=dataclasses.replace(record.request, gpu=gpu))

    agreeing, differing = edited(run(*HOSTS), "gpu03", newer), edited(dissent(), "gpu03", newer)
    expected = {"driver": ((factory.DRIVER, ("gpu01", "gpu02")), ("560.35.03", ("gpu03",)))}
    assert group_of(agreeing).differing == group_of(differing).differing == expected
    for whole, meaning in (
        (agreeing, "bits that are the same are so despite that"),
        (differing, "a conflict may come from that"),
    ):
        actual = build(evaluate(whole)).hosts[0]
        assert actual.sentences[-1] == f"The hosts also differ in driver: {meaning}."
        assert actual.differing[0].value == f"{factory.DRIVER} on gpu01 and gpu02; 560.35.03 on gpu03"
    # with the driver as a requirement, only the hosts that have it count
    (fits, *_), rest = choose(evaluate(differing), Requirements(driver="560")), choose(evaluate(differing))
    assert (fits.column[-5:], fits.fit) == ("gpu03", Fit.FITS)
    assert {one.fit for one in rest} == {Fit.NOT}


# --- the rest of the report ---------------------------------------------------------------------------


def two_models() -> RunResults:
    columns = [
        column(f"{model}-{name}", model, tf)
        for name in "cab"
        for model in ("h100", "h200")
        for tf in ("2.18.1", "2.19.1")
    ]

    def behave(spot: Spot) -> Behaviour:
        odd = spot.column.endswith("h100-b")
        return Behaviour(("b" if odd else spot.column.partition("@")[2][:4],)) if spot.kernel == "matmul" else EXACT

    return evaluate(run(*columns, behave=behave))


def test_columns_are_ordered_by_model_environment_and_host() -> None:
    heads = [one.id.partition("@") for one in two_models().info.columns]
    assert [(pair[2:6], device) for pair, _, device in heads] == [
        (pair, f"{model}-{model}-{name}") for model in ("h100", "h200") for pair in ("2.18", "2.19") for name in "abc"
    ]
    view = build(two_models())
    assert view.columns[0].label == "TF 2.18.1 CUDA 12.5 on h100 (h100-a)"


def test_the_letters_of_a_row_show_models_and_the_host_that_differs() -> None:
    (row,) = [row for row in build(two_models()).rows if row.kernel == "matmul"]
    assert [entry.on.letters for entry in row.entries] == list("ABAABACCCCCC")


def test_a_step_never_leads_from_one_host_to_another() -> None:
    steps = two_models().steps
    assert len(steps) == 6
    assert all(step.before.host == step.after.host for step in steps)


def test_steps_and_labels_do_not_rely_on_facts_of_the_host() -> None:
    """Columns of two hosts of which no other fact is known."""
    columns = [
        factory.column(tf, id=f"tf{tf}-cpu-py311@cpu-{host}", host=host) for tf in ("2.18.1", "2.19.1") for host in "ab"
    ]
    results = evaluate(run(*columns))
    assert all(step.before.host == step.after.host for step in results.steps)
    assert len({column.label for column in build(results).columns}) == len(columns)


def test_a_pair_on_which_hosts_disagree_does_not_fit() -> None:
    results = evaluate(dissent())
    candidates = choose(results)
    assert {(one.fit, one.reproducible) for one in candidates} == {(Fit.NOT, 0)}
    assert gate(results, ["unknown-nondeterminism", "faults", "unmeasured"]) == ()
    (actual,) = gate(results, ["host-conflict"])
    assert (
        actual
        == "host-conflict: matmul has other bits on another host with the same h100: A on gpu01 and gpu02; B on gpu03."
    )
    view = build(results)
    assert not any(line.safe for line in view.lines)
    assert view.answer[0].startswith("With determinism on, no kernel is reproducible on ")
    assert "gpu03 differs from gpu01 and gpu02 in 1: matmul" in " ".join(view.answer)
    assert "other bits on another host (1): matmul" in view.choice.candidates[0].reasons
    assert view.lines[0].sentence == "0 of 1 kernel reproducible; other bits on another host 1"
    assert "#1a7f5a" not in badge.render(view)
    assert "0 of 1" in badge.render(view)


def test_a_pair_that_is_not_reproducible_on_one_host_is_not_safe_on_the_others() -> None:
    candidates = {
        one.column[-5:]: one for one in choose(evaluate(run(*HOSTS, behave=on_host("gpu03", Behaviour(("a", "b"))))))
    }
    assert {host: one.fit for host, one in candidates.items()} == {
        "gpu01": Fit.UNKNOWN, "gpu02": Fit.UNKNOWN, "gpu03": Fit.NOT,
    }  # fmt: skip


def test_hosts_that_agree_fit_and_pass() -> None:
    results = evaluate(run(*HOSTS))
    assert {one.fit for one in choose(results)} == {Fit.FITS}
    assert gate(results, ["host-conflict"]) == ()
    assert build(results).hosts[0].rows == ()


def test_the_summary_for_ci_keeps_to_25_lines() -> None:
    many = [factory.column(f"2.{minor}.0") for minor in range(3, 12)]
    acts = [Behaviour(("a", "b")), Behaviour(outcome="crashed"), Behaviour(outcome="timeout"), Behaviour(nan=True)]
    acts += [Behaviour(outcome="oom"), Behaviour(outcome="error", error_class="E", message="m")]
    kernels = [factory.kernel(f"k{number}") for number in range(len(acts))]
    facts = factory.info(columns=tuple(many), kernels=(*kernels, *factory.CONTROLS), warnings=("swap",))
    whole = factory.run(facts, lambda spot: acts[int(spot.kernel[1:])] if spot.kernel[1:].isdigit() else EXACT)
    hosts = build(two_models()).hosts
    text = job_summary.render(dataclasses.replace(build(evaluate(whole)), hosts=hosts))
    assert "Across hosts" in text
    assert "2 more environments" in text
    assert len(text.splitlines()) <= 25


def test_nothing_is_shown_for_one_host(root: Path) -> None:
    view = build(evaluate(factory.run()))
    assert view.hosts == ()
    assert "Across hosts" not in page.render(view) + job_summary.render(view) + summary.render(view, root, 80)
    for text in (page.render(build(evaluate(dissent()))), job_summary.render(build(evaluate(dissent())))):
        assert "Across hosts" in text


def test_an_edited_host_of_a_column_is_a_mismatch() -> None:
    results = evaluate(run(HOSTS[0], dataclasses.replace(HOSTS[1], host="gpu09")))
    assert {one.status for one in results.verdicts if one.column == HOSTS[1].id} == {Status.MISMATCH}
    assert Agreement.AGREE not in {one.agreement for group in results.hosts for one in group.results}
