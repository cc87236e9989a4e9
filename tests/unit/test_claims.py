"""What run.json claims must be what the records say: every field is changed, one at a time, in a part of the sample."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import StorageError
from bench.store.run import Run, read_info
from bench.store.run_info import RunInfo
from bench.suite.paired_record import PairedRecord, SideProcess
from bench.verdict import Status, evaluate
from bench.verdict.claims import CLOCK_TOLERANCE, FUTURE_TOLERANCE, contradiction, pair_contradiction
from tests.unit import factory, shipped_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.suite.record import Process, Record

KERNEL, COLUMN = "matmul_f32", "tf2.15.1-cpu-py311@cpu"
GPU = factory.column(cuda="12.5")

#: Fields of run.json of which no record can say anything: texts about the invocation, and what is only planned.
UNCLAIMED = {
    "version", "revision", "command", "profile", "engine_why", "engine_facts", "warnings", "passes_done",
    "passes_planned", "seconds_left", "modes", "variations", "variation_modes", "kernels", "columns", "reused", "host",
    "schema", "repetitions", "rounds",
}  # fmt: skip
#: The same of a column. What it was built from is in the image, whose id is compared.
UNCLAIMED_OF_COLUMN = {"advice", "reason", "origin", "environment", "lock"}


@lru_cache(maxsize=1)
def sample() -> Run:
    """One column of the sample, default variation, one kernel and the controls: small enough to evaluate often.

    The records with determinism on count as those of the run itself, and those with it off as reused.
    """
    run = shipped_sample.run()
    kept = {path: record for path, record in run.records.items() if path.startswith(f"records/{COLUMN}/default/")}
    info = dataclasses.replace(
        run.info,
        columns=tuple(column for column in run.info.columns if column.id == COLUMN),
        kernels=tuple(kernel for kernel in run.info.kernels if kernel.control or kernel.name == KERNEL),
        variations={"default": ()},
        variation_modes={"default": ("off", "on")},
        reused={path: source for path, source in run.info.reused.items() if path in kept},
    )
    names = {kernel.name for kernel in info.kernels}
    records = {path: _own(_only(record, names), info) for path, record in kept.items()}
    reused = {path: source for path, source in info.reused.items() if records[path].request.mode == "off"}
    info = dataclasses.replace(info, reused=reused)
    return Run(info=info, records=records, read_at="2999-01-01T00:00:00+00:00")


def _own(record: Record, info: RunInfo) -> Record:
    if record.request.mode == "off":
        return record
    return dataclasses.replace(
        record,
        request=dataclasses.replace(record.request, context={**record.request.context, "run": info.id}),
        processes=tuple(dataclasses.replace(process, started=info.started) for process in record.processes),
    )


def _only(record: Record, names: set[str]) -> Record:
    return dataclasses.replace(
        record,
        request=dataclasses.replace(
            record.request, kernels=tuple(name for name in record.request.kernels if name in names)
        ),
        samples=tuple(sample for sample in record.samples if sample.kernel in names),
        outcomes=tuple(outcome for outcome in record.outcomes if outcome.kernel in names),
    )


def statuses(run: Run) -> dict[str, Status]:
    """Mode -> status of the kernel in the column that is changed."""
    return {verdict.mode: verdict.status for verdict in evaluate(run).verdicts if verdict.kernel == KERNEL}


def reasons(run: Run) -> str:
    return " ".join(verdict.why for verdict in evaluate(run).verdicts if verdict.status is Status.MISMATCH)


def other(value: Any) -> Any:
    """Return a plausible other value of the same type."""
    if isinstance(value, str):
        return _other_text(value)
    if isinstance(value, (bool, int, float)):
        return not value if isinstance(value, bool) else value + 1
    if isinstance(value, dict):
        return {**value, "another": "value"}
    return (*value, "another") if value is not None else 3


def _other_text(value: str) -> str:
    if value.startswith("Linux-"):
        return value.replace("Linux-", "Linux-9")  # the end is the C library, of which a container has its own
    try:
        return (datetime.fromisoformat(value) + timedelta(days=400)).isoformat()
    except ValueError:
        return f"{value[:-1]}{'1' if value[-1] == '0' else '0'}" if value else "other"


def with_column(run: Run, **changes: Any) -> Run:
    columns = (dataclasses.replace(run.info.columns[0], **changes),)
    return dataclasses.replace(run, info=dataclasses.replace(run.info, columns=columns))


def with_info(run: Run, **changes: Any) -> Run:
    return dataclasses.replace(run, info=dataclasses.replace(run.info, **changes))


def with_request(run: Run, **changes: Any) -> Run:
    """Change the request of one record; ``context`` is merged."""

    def change(record: Record) -> Record:
        merged = {**changes, "context": {**record.request.context, **changes.get("context", {})}}
        return dataclasses.replace(record, request=dataclasses.replace(record.request, **merged))

    return factory.changed(run, change, factory.Change(mode="on", rounds=(1,)))


def with_process(run: Run, where: str, **changes: Any) -> Run:
    """Change the processes of one record: ``where`` is "provenance", "settings" or "" for the process itself."""

    def change(process: Process) -> Process:
        if where == "provenance":
            return dataclasses.replace(process, provenance={**process.provenance, **changes})
        if where == "settings":
            return dataclasses.replace(process, settings={**process.settings, **changes})
        return dataclasses.replace(process, **changes)

    return factory.changed(
        run,
        lambda record: dataclasses.replace(record, processes=tuple(map(change, record.processes))),
        factory.Change(mode="on", rounds=(1,)),
    )


def test_the_sample_agrees_with_its_records() -> None:
    assert statuses(sample()) == {"off": Status.REPRODUCIBLE, "on": Status.REPRODUCIBLE}


@pytest.mark.parametrize("field", sorted({field.name for field in dataclasses.fields(RunInfo)} - UNCLAIMED))
def test_no_field_of_run_json_can_lie(field: str) -> None:
    found = statuses(with_info(sample(), **{field: other(getattr(sample().info, field))}))
    assert Status.REPRODUCIBLE not in found.values()


@pytest.mark.parametrize(
    "field", sorted({field.name for field in dataclasses.fields(factory.column())} - UNCLAIMED_OF_COLUMN)
)
def test_no_field_of_a_column_can_lie(field: str) -> None:
    found = statuses(with_column(sample(), **{field: other(getattr(sample().info.columns[0], field))}))
    assert Status.REPRODUCIBLE not in found.values()


@pytest.mark.parametrize("key", ["name", "cpu", "cores", "system"])
def test_no_fact_of_the_host_can_lie(key: str) -> None:
    host = {**sample().info.host, key: other(sample().info.host[key])}
    found = with_info(sample(), host=host)
    assert set(statuses(found).values()) == {Status.MISMATCH}
    assert "run.json says that" in reasons(found)
    assert "but a record says" in reasons(found)


@pytest.mark.parametrize("key", ["image", "lock_hash"])
def test_no_identity_of_an_environment_can_lie(key: str) -> None:
    environment = dict(sample().info.columns[0].environment)
    found = statuses(with_column(sample(), environment={**environment, key: other(environment[key])}))
    assert set(found.values()) == {Status.MISMATCH}


@pytest.mark.parametrize("changes", [{"cuda": "12.5"}, {"device": "h200"}, {"cuda": "12.5", "cudnn": "9.3.0"}])
def test_a_cpu_column_has_no_cuda(changes: dict[str, str]) -> None:
    assert Status.REPRODUCIBLE not in statuses(with_column(sample(), **changes)).values()


@pytest.mark.parametrize("key", sorted({"engine", "environment", "host", "lock_hash", "run"}))
@pytest.mark.parametrize("value", ["", "other"])
def test_no_context_of_a_request_can_lie(key: str, value: str) -> None:
    assert Status.REPRODUCIBLE not in statuses(with_request(sample(), context={key: value})).values()


def test_two_locks_are_a_mismatch_where_run_json_has_none() -> None:
    run = with_column(sample(), lock_hash="", environment={})
    assert set(statuses(run).values()) == {Status.MISMATCH}
    assert set(statuses(with_request(run, context={"lock_hash": "1" * 64})).values()) == {Status.MISMATCH}


def test_a_record_of_another_run_must_be_listed_as_reused() -> None:
    other_run = "20260101T000000Z-abcd"
    run = with_request(sample(), context={"run": other_run})
    assert set(statuses(run).values()) == {Status.MISMATCH}
    assert f"but a record says {other_run}" in reasons(run)
    listed = dict.fromkeys(map(str, sample().records), "20250101T000000Z-dcba")
    assert set(statuses(with_info(run, reused=listed)).values()) == {Status.MISMATCH}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 43), ("threads", 7), ("device", "gpu"), ("tf32", False), ("switch", "env"), ("env", {"TF_X": "1"}),
        ("expect", {"numpy": "1.0"}), ("mode", "off"), ("column", "tf2.18.1-cpu-py311@cpu"), ("round", 9),
        ("variation", "threads=1"),
    ],
)  # fmt: skip
def test_no_field_of_a_request_can_lie(field: str, value: Any) -> None:
    assert statuses(with_request(sample(), **{field: value}))["on"] is not Status.REPRODUCIBLE


#: Provenance that may differ between processes, or that nothing on the page states.
FREE = {"hostname", "load", "kernel_hashes", "private_tmp"}  # the last one is a warning of its own


def test_no_fact_of_a_process_can_lie() -> None:
    process = sample().records[f"records/{COLUMN}/default/on-001.jsonl"].processes[0]
    silent = [
        f"{where} {key}"
        for where, facts in (("provenance", process.provenance), ("settings", process.settings))
        for key, value in facts.items()
        if key not in FREE
        and statuses(with_process(sample(), where, **{key: other(value)}))["on"] is Status.REPRODUCIBLE
    ]
    assert not silent


@pytest.mark.parametrize(
    "changes",
    [
        {"finished": "2020-01-01T00:00:00+00:00"},
        {"started": "2020-01-01T00:00:00+00:00"},
        {"finished": "2999-12-31T00:00:00+00:00"},
        {"started": "2999-12-31T00:00:00+00:00", "finished": ""},
    ],
)
def test_times_that_cannot_be_are_a_mismatch(changes: dict[str, str]) -> None:
    assert set(statuses(with_info(sample(), **changes)).values()) == {Status.MISMATCH}


@pytest.mark.parametrize("started", ["2020-01-01T00:00:00+00:00", "2998-01-01T00:00:00+00:00", ""])
def test_a_process_ran_within_its_run(started: str) -> None:
    assert statuses(with_process(sample(), "", started=started))["on"] is not Status.REPRODUCIBLE


@settings(max_examples=60, deadline=None)
@given(minutes=st.integers(min_value=-10_000, max_value=10_000))
def test_clocks_have_a_stated_tolerance(minutes: int) -> None:
    run = factory.run()
    record = next(iter(run.records.values()))
    start, end = (datetime.fromisoformat(text) for text in (run.info.started, run.info.finished))
    time = start + timedelta(minutes=minutes)
    process = dataclasses.replace(record.processes[0], started=time.isoformat())
    reason = contradiction(run.info, run.info.columns[0], record.request, (process,))
    assert bool(reason) == (not start - CLOCK_TOLERANCE <= time <= end + CLOCK_TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(hours=st.integers(min_value=0, max_value=100))
def test_the_future_begins_after_a_day(hours: int) -> None:
    run = factory.run()
    read_at = datetime.fromisoformat(run.info.finished) - timedelta(hours=hours)
    found = evaluate(dataclasses.replace(run, read_at=read_at.isoformat()))
    assert (found.verdicts[0].status is Status.MISMATCH) == (timedelta(hours=hours) > FUTURE_TOLERANCE)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=30))
def test_a_claim_is_true_only_if_it_is_equal(text: str) -> None:
    run = factory.run(factory.info(host={"name": "box", "cpu": "Example CPU"}))
    record = next(iter(run.records.values()))
    for key, claimed in (("host", "box"), ("engine", "docker"), ("lock_hash", run.info.columns[0].lock_hash)):
        request = dataclasses.replace(record.request, context={**record.request.context, key: text})
        reason = contradiction(run.info, run.info.columns[0], request, record.processes)
        assert bool(reason) == (text != claimed)


def test_a_gpu_column_has_the_gpu_and_driver_of_the_host() -> None:
    host = {"gpu": f"2 x NVIDIA H100, driver {factory.DRIVER}"}
    run = factory.run(factory.info(columns=(GPU,), host=host))
    verdicts = [verdict for verdict in evaluate(run).verdicts if not verdict.control]
    assert {verdict.status for verdict in verdicts} == {Status.REPRODUCIBLE}
    for changes in ({"host": {"gpu": "NVIDIA H100, driver 1.2"}}, {"host": {"gpu": "NVIDIA A100"}}):
        assert {verdict.status for verdict in evaluate(with_info(run, **changes)).verdicts} == {Status.MISMATCH}
    assert {verdict.status for verdict in evaluate(with_column(run, device="a100")).verdicts} == {Status.MISMATCH}


def test_run_json_of_this_host_is_validated_like_an_imported_one(tmp_path: Path) -> None:
    facts = json.loads(factory.info().to_json())
    for changes, reason in (
        ({"id": "../../etc"}, "not a valid name of a run"),
        ({"suite_hash": "5"}, "not a SHA-256"),
        ({"rounds": 0}, "planned no round"),
        ({"started": "yesterday"}, "not the time of a start"),
        ({"command": "\x1b[2J"}, "control characters"),
    ):
        (tmp_path / "run.json").write_text(json.dumps({**facts, **changes}), encoding="utf-8")
        with pytest.raises(StorageError, match=reason):
            read_info(tmp_path)


@settings(max_examples=50, deadline=None)
@given(reason=st.text())
def test_what_is_written_can_be_read(tmp_path_factory: pytest.TempPathFactory, reason: str) -> None:
    folder = tmp_path_factory.mktemp("run")
    info = factory.info(columns=(factory.column(status="build-failed", reason=reason),))
    (folder / "run.json").write_text(info.to_json(), encoding="utf-8")
    assert read_info(folder).columns[0].status == "build-failed"


# --- pairs --------------------------------------------------------------------------------------------


def pair(run: Run, comparison: str = "overhead", modes: tuple[str, str] = ("off", "on")) -> PairedRecord:
    """A pair whose sides have the requests and processes of the first round of two modes."""
    records = [run.records[f"records/{run.info.columns[0].id}/default/{mode}-001.jsonl"] for mode in modes]
    processes = [
        SideProcess(side, process.pid, process.started, process.provenance, process.settings, process.libraries)
        for side, record in zip("ab", records, strict=True)
        for process in record.processes
    ]
    return PairedRecord(
        comparison=comparison,
        number=1,
        requests=dict(zip("ab", (record.request for record in records), strict=True)),
        started_first="a",
        suite_hash=run.info.suite_hash,
        processes=tuple(processes),
        kernels=(),
        complete=True,
        seconds=1.0,
    )


def test_pairs_are_checked_like_rounds() -> None:
    run = factory.run()
    assert not pair_contradiction(run.info, pair(run))
    assert not pair_contradiction(run.info, pair(run, "noise-floor", ("off", "off")))
    assert "cannot compare" in pair_contradiction(run.info, pair(run, "overhead", ("on", "off")))
    assert "cannot compare" in pair_contradiction(run.info, pair(run, "upgrade"))
    assert "suite" in pair_contradiction(run.info, dataclasses.replace(pair(run), suite_hash="6" * 64))


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize(
    "change",
    [
        lambda process: {"provenance": {**process.provenance, "tensorflow": "2.1.0"}},
        lambda process: {"settings": {**process.settings, "determinism_enabled": "unknown"}},
        lambda process: {"settings": {**process.settings, "devices": ["/device:GPU:0"]}},
        lambda _: {"started": "2020-01-01T00:00:00+00:00"},
    ],
)
def test_each_side_of_a_pair_must_agree(side: str, change: Callable[[SideProcess], dict[str, Any]]) -> None:
    run = factory.run()
    record = pair(run)
    processes = tuple(
        dataclasses.replace(process, **change(process)) if process.side == side else process
        for process in record.processes
    )
    assert pair_contradiction(run.info, dataclasses.replace(record, processes=processes))
    request = dataclasses.replace(record.requests[side], context={"engine": "venv"})
    assert pair_contradiction(run.info, dataclasses.replace(record, requests={**record.requests, side: request}))
