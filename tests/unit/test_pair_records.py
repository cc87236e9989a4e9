"""Pairs that contradict run.json, or each other, do not count, and are listed with the reason."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.build.page import build
from bench.verdict import Status, evaluate
from tests.unit import factory
from tests.unit.factory import with_pairs
from tests.unit.paired_factory import Noise, pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.store.run import Run
    from bench.suite.paired_record import PairedRecord

    Change = Callable[[PairedRecord], PairedRecord]

COLUMN = factory.column().id
QUIET = Noise(call=0.002, burst=0, spread=0.002, order=0.002, drift=0.002)
FIRST = f"paired/{COLUMN}/overhead-001.jsonl"


def run_of(paired: dict[str, PairedRecord]) -> Run:
    """A run of one kernel with these pairs and no others."""
    facts = factory.info(kernels=(factory.kernel("op0"), *factory.CONTROLS))
    return with_pairs(factory.run(facts, timed=()), paired)


def requesting(side: str = "b", **changes: Any) -> Change:
    """A change of the request of one side."""

    def change(record: PairedRecord) -> PairedRecord:
        request = dataclasses.replace(record.requests[side], **changes)
        return dataclasses.replace(record, requests={**record.requests, side: request})

    return change


def context(**changes: str) -> Change:
    """A change of what the host wrote into the request of side b."""
    return lambda record: requesting(context={**record.requests["b"].context, **changes})(record)


def process(**changes: Any) -> Change:
    """A change of the process of side b; the values of dictionaries are added to what it has."""

    def change(record: PairedRecord) -> PairedRecord:
        a, b = record.processes
        fields: dict[str, Any] = {
            name: {**getattr(b, name), **value} if isinstance(value, dict) else value for name, value in changes.items()
        }
        return dataclasses.replace(record, processes=(a, dataclasses.replace(b, **fields)))

    return change


def kernels(**changes: Any) -> Change:
    """A change of all kernels of a pair."""
    return lambda record: dataclasses.replace(
        record, kernels=tuple(dataclasses.replace(kernel, **changes) for kernel in record.kernels)
    )


NOT_COUNTED: dict[str, tuple[Change, str]] = {
    "another suite": (lambda record: dataclasses.replace(record, suite_hash="6" * 64), "outdated: measured with"),
    "another number": (
        lambda record: dataclasses.replace(record, number=9),
        "its content says that it is overhead-009",
    ),
    "another comparison": (
        lambda record: dataclasses.replace(record, comparison="noise-floor"),
        "its content says that it is noise-floor-001",
    ),
    "another column": (requesting(column="tf2.17.0-cpu-py311@cpu"), "its content says that it is overhead-001 of"),
    "a column that is not there": (requesting("a", column="tf9.9.9-cpu-py311@cpu"), "overhead cannot compare"),
    "both off": (requesting(mode="off"), "overhead cannot compare"),
    "the wrong way round": (
        lambda record: requesting("a", mode="on")(requesting("b", mode="off")(record)),
        "overhead cannot compare",
    ),
    "another variation": (requesting(variation="threads=1"), "run.json has no such variation"),
    "another lock": (context(lock_hash="0" * 64), "the lock hash is"),
    "no lock": (context(lock_hash=""), "but a record says nothing"),
    "another run": (context(run="20240101T000000Z-ffff"), "the run is"),
    "another host": (context(host="elsewhere"), "the host is"),
    "another engine": (context(engine="venv"), "the engine is"),
    "another seed": (requesting(seed=7), "the run's seed is 42"),
    "another device": (requesting(device="gpu"), "was requested on a GPU"),
    "determinism was off": (process(settings={"determinism_enabled": False}), "determinism on was requested"),
    "nobody knows the mode": (process(settings={"determinism_enabled": None}), "determinism on was requested"),
    "a GPU": (process(settings={"devices": ["/device:GPU:0"]}), "the process had a GPU"),
    "another TensorFlow": (process(provenance={"tensorflow": "2.17.0"}), "the column is tensorflow 2.18.1"),
    "another Keras": (process(provenance={"keras": "2.15.0"}), "the column is keras 3.15.1"),
    "another NumPy": (process(provenance={"numpy": "1.26.0"}), "the compared processes differ in numpy"),
    "another CPU": (process(provenance={"cpu_model": "Other CPU"}), "the compared processes differ in cpu_model"),
    "other code": (
        lambda record: process(provenance={"kernel_hashes": {"op0": "b"}})(
            dataclasses.replace(
                record,
                processes=tuple(
                    dataclasses.replace(one, provenance={**one.provenance, "kernel_hashes": {"op0": "a"}})
                    for one in record.processes
                ),
            )
        ),
        "different code of op0",
    ),
    "more threads": (process(settings={"intra_op_threads": 7}), "its two sides differ in intra_op_threads"),
    "before the run": (process(started="2020-01-01T00:00:00+00:00"), "a process started at 2020-01-01"),
    "no process": (
        lambda record: dataclasses.replace(record, processes=record.processes[:1]),
        "side b has times, but no settings",
    ),
    "one process for both sides": (
        lambda record: process(
            pid=record.processes[0].pid,
            started=record.processes[0].started,
            provenance={"hostname": record.processes[0].provenance["hostname"]},
        )(record),
        "a copy: it has the same process as its other side",
    ),
}


@pytest.mark.parametrize(("change", "reason"), NOT_COUNTED.values(), ids=NOT_COUNTED)
def test_a_pair_that_contradicts_run_json_does_not_count(change: Change, reason: str) -> None:
    run = run_of(pairs({"op0": 1.5}, noise=QUIET))
    wrong = change(run.paired[FIRST])
    results = evaluate(dataclasses.replace(run, paired={**run.paired, FIRST: wrong}))
    ((path, why),) = results.left_out
    assert (path, reason in why) == (FIRST, True), why
    assert results.overheads[COLUMN, "op0", "default"].pairs == 4
    verdict = results.of(COLUMN, "op0", "default", "on")
    assert verdict is not None
    assert verdict.status is Status.REPRODUCIBLE
    assert verdict.timing is not None
    assert len(verdict.timing.per_process) == 4
    notice = next(notice for notice in build(results).notices if notice.title == "Records left out")
    assert notice.items[0].startswith(FIRST)


def test_a_copied_pair_does_not_count_twice() -> None:
    run = run_of(pairs({"op0": 1.5}, number=3, noise=QUIET))
    copy = dataclasses.replace(run.paired[FIRST], number=4)
    path = FIRST.replace("001", "004")
    results = evaluate(dataclasses.replace(run, paired={**run.paired, path: copy}))
    assert results.left_out == ((path, f"a copy: it has the same process as {FIRST}"),)
    assert results.overheads[COLUMN, "op0", "default"].pairs == 3


def test_a_pair_of_an_interrupted_run_counts_if_run_json_lists_it() -> None:
    earlier = "20250130T115000Z-beef"
    run = run_of(pairs({"op0": 1.5}, noise=QUIET))
    reused = requesting("a", context={**run.paired[FIRST].requests["a"].context, "run": earlier})(
        context(run=earlier)(run.paired[FIRST])
    )
    run = dataclasses.replace(run, paired={**run.paired, FIRST: reused})
    assert len(evaluate(run).left_out) == 1
    listed = dataclasses.replace(run, info=dataclasses.replace(run.info, reused={FIRST: earlier}))
    assert not evaluate(listed).left_out


def test_a_pair_that_saw_no_gpu_has_no_times_and_is_no_contradiction() -> None:
    run = run_of(pairs({"op0": 1.5}, noise=QUIET))
    blind = dataclasses.replace(kernels(outcome="gpu-not-visible", blocks=())(run.paired[FIRST]), processes=())
    results = evaluate(dataclasses.replace(run, paired={**run.paired, FIRST: blind}))
    assert not results.left_out
    assert results.overheads[COLUMN, "op0", "default"].pairs == 4
