"""Nights: what fits into a budget, what a night writes, whom it tells, and what it removes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from bench.cli import night_files, nightly
from bench.engines import clean
from bench.errors import BusyError, StorageError
from bench.history import reproducibility, run_times
from bench.history.finding import FindingKind, Shift
from bench.history.journal import Entry
from bench.plan import budget, config, custom_kernels, duration, planner
from bench.plan.budget import Measured
from bench.plan.last_environment import paired_plan
from bench.plan.planner import Selection
from bench.report.build.night import build, failed
from bench.report.formatting import clean as harmless
from bench.report.json import render as report_json
from bench.report.text import night as text
from bench.report.view.night import LeftOut
from bench.store import locks, retention
from bench.suite.suite_hash import ROOT
from tests.unit.test_history import cell, nights

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan.planner import Plan
    from bench.report.view.night import NightView

HOSTILE = '<script>alert("x")</script>\n| [a](javascript:b) @all \x1b[31m"\\'


@pytest.fixture(scope="module")
def plan() -> Plan:
    matrix = config.load(ROOT / "matrix.toml")
    return planner.make(matrix, "quick", Selection(), ROOT / "docker" / "locks", custom_kernels.suite([]))


# the budget


def measured(plan: Plan, **changes: Any) -> dict[str, Measured]:
    """The last measurement of every column, a day after the one before it."""
    return {
        column.id: replace(
            Measured(started=f"2026-11-0{day}", lock_hash=column.lock_hash(), failing=False, kernels={}), **changes
        )
        for day, column in enumerate(plan.ready, 1)
    }


def seconds_of_one(plan: Plan) -> float:
    column = plan.ready[0]
    rounds = [item for item in plan.rounds if item.column is column]
    return duration.total_seconds(rounds, [item for item in plan.pairs if item.column is column], 2)


def test_a_budget_takes_columns_in_the_order_new_changed_failing_oldest(plan: Plan) -> None:
    one, two, three = (column.id for column in plan.ready)
    last, enough = measured(plan), seconds_of_one(plan) * 1.5
    assert budget.choose(plan, enough, last, 2).columns == (one,), "the oldest"
    last[three] = replace(last[three], failing=True)
    assert budget.choose(plan, enough, last, 2).columns == (three,)
    last[two] = replace(last[two], lock_hash="other")
    assert budget.choose(plan, enough, last, 2).columns == (two,)
    del last[three]
    assert budget.choose(plan, enough, last, 2) == budget.Choice(
        columns=(three,), kernels=(), left_out=((two, "2026-11-02"), (one, "2026-11-01"))
    )


def test_a_budget_for_less_than_a_column_takes_kernels_that_were_never_measured_first(plan: Plan) -> None:
    column = plan.ready[0].id
    names = [kernel.name for kernel in plan.kernels if not kernel.control]
    last = measured(plan, kernels=dict.fromkeys(names[2:], "2026-11-01"))
    choice = budget.choose(plan, seconds_of_one(plan) / 3, last, 2)
    assert choice.columns == (column,)
    assert set(names[:2]) <= set(choice.kernels) < set(names)
    assert {f"{column} {name}" for name in set(names) - set(choice.kernels)} <= {name for name, _ in choice.left_out}
    assert budget.choose(plan, 0.0, last, 2).kernels == (names[0],), "at least one"


@given(st.floats(0, 40_000))
def test_a_budget_loses_nothing(plan: Plan, budget_s: float) -> None:
    choice = budget.choose(plan, budget_s, {}, 2)
    assert choice.columns
    left = {name.partition(" ")[0] for name, _ in choice.left_out}
    assert left | set(choice.columns) == {column.id for column in plan.ready}


@pytest.mark.parametrize(("given", "expected"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400)])
def test_a_duration(given: str, expected: float) -> None:
    assert nightly.seconds(given) == expected


@pytest.mark.parametrize("given", ["", "2", "h", "2d", "-1h", "1 h", "1h x"])
def test_what_is_no_duration(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="90m or 2h"):
        nightly.seconds(given)


# pairs with the last environment


def test_pairs_with_the_last_environment_differ_in_the_lock_only(plan: Plan, tmp_path: Path) -> None:
    column = plan.ready[1]
    lock = tmp_path / f"{'ab' * 32}.txt"
    shutil.copy(column.lock, lock)
    paired = paired_plan(plan, column, lock, ["matmul_f32", "scatter_nd"], "on", 8, 1)
    assert [one.id for one in paired.columns] == ["tf2.18.1-cpu-py311+abababab@cpu", "tf2.18.1-cpu-py311@cpu"]
    assert len(paired.pairs) == 8
    assert not paired.rounds
    for pair in paired.pairs:
        requests = pair.requests(plan.suite)
        assert {request.mode for request in requests.values()} == {"on"}
        assert set(pair.kernels) == {"matmul_f32", "scatter_nd"}
        assert (pair.other.lock, pair.column.lock) == (lock, column.lock)
    assert {pair.first for pair in paired.pairs} == {"a", "b"}
    other = paired_plan(plan, column, lock, ["matmul_f32", "scatter_nd"], "on", 8, 2)
    assert {pair.order_seed for pair in paired.pairs}.isdisjoint(pair.order_seed for pair in other.pairs)


def test_locks_are_kept_by_hash_and_a_changed_copy_is_none(tmp_path: Path) -> None:
    lock = tmp_path / "tf.txt"
    lock.write_text("numpy==1.26.4\n")
    name = hashlib.sha256(lock.read_bytes()).hexdigest()
    assert locks.kept(tmp_path, name) is None
    locks.keep(tmp_path, lock)
    copy = locks.kept(tmp_path, name)
    assert copy is not None
    assert copy.read_bytes() == lock.read_bytes()
    copy.write_text("numpy==9\n")
    assert locks.kept(tmp_path, name) is None
    with pytest.raises(StorageError, match="cannot be read"):
        locks.keep(tmp_path, tmp_path / "missing")


# what a night writes


@pytest.fixture
def view() -> NightView:
    """A night with an alarm of each sort, a change, and hostile notes."""
    slower = [cell(run, seconds=1.0) for run in range(1, 8)]
    whole = nights(
        [cell(1), cell(7, "nondeterministic")], [cell(1), cell(7, digest="e")], slower, facts={7: {"protobuf": HOSTILE}}
    )
    suspect = run_times.Suspect(
        place=whole.series[2].place, before=slower[-2], nights=2, recent=2,
        shift=Shift(ratio=1.25, paired=False, smallest=1.05),
    )  # fmt: skip
    findings = [*reproducibility.findings(whole), *run_times.from_history(whole, [suspect])]
    entries = [Entry(kind="note", cell="*", text=HOSTILE, who="me", when="2026-11-01")]
    return build(whole, findings, entries, [LeftOut(name="tf9-cpu", measured="")], [HOSTILE])


def test_a_night_says_what_its_alarms_are_about(view: NightView) -> None:
    assert [alarm.kind for alarm in view.alarms] == [
        FindingKind.REGRESSED,
        FindingKind.DIFFERENT_BITS,
        FindingKind.SLOWER,
    ]
    assert view.headline.startswith("3 alarms about 3 results: tf2.18.1-cpu-py311@cpu: no longer reproducible")
    assert view.alarms[2].results[0].ratio == 1.25
    assert view.alarms[0].changed == (("protobuf", harmless(f"unknown to {HOSTILE}")),)
    shown = text.terminal(view, 80)
    assert shown.count("ALARM") == 3
    assert shown.count("measured on: x, 2 cores, venv") == 3
    assert "1.25x the usual time in the same environment; anything above 1.05x would have been noticed" in " ".join(
        shown.split()
    )
    assert "never measured" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_summary_of_a_night_has_at_most_25_lines_of_harmless_markdown(view: NightView) -> None:
    many = replace(view, alarms=view.alarms * 30, changes=view.alarms * 30, notes=view.notes * 30)
    for one in (view, many):
        lines = text.markdown(one).splitlines()
        assert len(lines) <= 25
        shown = MarkdownIt().render("\n".join(lines))
        assert "<script" not in shown
        assert "<a " not in shown


def test_junit_has_a_failure_for_each_alarm(view: NightView) -> None:
    suite = ET.fromstring(text.junit(view))  # noqa: S314 - made here
    assert (suite.get("tests"), suite.get("failures")) == ("4", "3")
    assert len(suite.findall("testcase/failure")) == 3
    quiet = ET.fromstring(text.junit(replace(view, alarms=())))  # noqa: S314 - made here
    assert (quiet.get("tests"), quiet.get("failures")) == ("1", "0")


def test_prometheus_can_read_the_numbers_of_a_night(view: NightView) -> None:
    odd = replace(view.alarms[0], column='a"b\\c\nd')
    families = text_string_to_metric_families(text.prometheus(replace(view, alarms=(odd, *view.alarms[1:]))))
    samples = {family.name: family.samples for family in families}
    assert [sample.value for sample in samples["tfrepro_night_alarms"]] == [3]
    assert samples["tfrepro_night_started_seconds"][0].value == 1794016800
    assert sorted(sample.labels["kind"] for sample in samples["tfrepro_night_alarm_results"]) == sorted(
        alarm.kind for alarm in view.alarms
    )


def test_nightly_json_follows_its_schema_and_is_kept_for_the_history(view: NightView, tmp_path: Path) -> None:
    night_files.write(tmp_path, view)
    content = json.loads((tmp_path / "nightly.json").read_text())
    jsonschema.validate(content, json.loads(report_json.night_schema()))
    assert night_files.read_all(tmp_path) == {}, "it was not examined to its end"
    night_files.keep(tmp_path, view)
    for name, broken in (("a", "{"), ("b", "[]"), ("c", '{"alarms": ["x"]}'), ("d", '{"alarms": 3}')):
        (tmp_path / night_files.NIGHTS / f"{name}.json").write_text(broken)
    assert night_files.read_all(tmp_path) == {view.run: view}


def test_a_night_that_failed_says_so_everywhere(tmp_path: Path) -> None:
    night_files.write(tmp_path, failed("No engine answers.", "Start Docker."))
    content = json.loads((tmp_path / "nightly.json").read_text())
    jsonschema.validate(content, json.loads(report_json.night_schema()))
    assert (content["failed"], content["headline"]) == (True, "The night failed: No engine answers.")
    suite = ET.fromstring((tmp_path / "nightly.xml").read_text())  # noqa: S314 - made here
    assert (suite.get("tests"), suite.get("errors")) == ("2", "1")
    assert "tfrepro_night_failed 1" in (tmp_path / "nightly.prom").read_text()
    assert "Start Docker" in (tmp_path / "nightly.md").read_text()


def test_the_published_schema_of_nightly_json_is_up_to_date() -> None:
    assert (ROOT / "docs" / "nightly.schema.json").read_text() == report_json.night_schema()


# whom it tells


def script(folder: Path, body: str) -> list[str]:
    path = folder / "alarm.py"
    path.write_text(f"import json, sys, time\n{body}")
    return [sys.executable, str(path)]


def test_the_program_of_on_alarm_gets_nightly_json(
    tmp_path: Path, view: NightView, capsys: pytest.CaptureFixture[str]
) -> None:
    night_files.write(tmp_path, view)
    command = script(tmp_path, "print(len(json.load(sys.stdin)['alarms']), 'alarms', *sys.argv[1:])")
    assert night_files.report_alarm([*command, "$HOME; x"], tmp_path) == ""
    assert capsys.readouterr().err == "3 alarms $HOME; x\n", "there is no shell"


@pytest.mark.parametrize(
    ("body", "expected"),
    [("sys.exit(3)", "ended with exit code 3"), ("time.sleep(60)", "did not end within 0 s"), ("", "")],
)
def test_a_program_that_fails_costs_only_a_warning(
    tmp_path: Path, view: NightView, body: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    night_files.write(tmp_path, view)
    if "sleep" in body:
        monkeypatch.setattr(night_files, "ON_ALARM_S", 0.4)
    problem = night_files.report_alarm(script(tmp_path, body), tmp_path)
    assert problem.endswith(expected)
    assert bool(problem) == bool(expected)
    assert "cannot be started" in night_files.report_alarm([str(tmp_path / "missing")], tmp_path)


# what it removes


@pytest.fixture
def kept_runs(tmp_path: Path) -> Path:
    """Four copies of the sample with logs, one of them from tonight."""
    sample = json.loads((ROOT / "reports" / "sample" / "run.json").read_text())
    names = ["20200101T020000Z-aaaa", "20200102T020000Z-bbbb", "20200103T020000Z-cccc"]
    for name in [*names, time.strftime("%Y%m%dT%H%M%SZ-dddd", time.gmtime())]:
        logs = tmp_path / "runs" / name / "logs"
        logs.mkdir(parents=True)
        (logs / "x.log").write_text("x")
        (logs.parent / "run.json").write_text(json.dumps({**sample, "id": name}))
    return tmp_path


def left(reports: Path) -> list[str]:
    return sorted(path.name[-4:] for path in (reports / "runs").iterdir())


def test_nothing_is_removed_without_a_rule(kept_runs: Path) -> None:
    assert retention.apply(kept_runs, None, None) == []
    assert left(kept_runs) == ["aaaa", "bbbb", "cccc", "dddd"]


def test_old_logs_are_removed_and_old_runs_except_the_newest_of_each_column(kept_runs: Path) -> None:
    only = json.loads((kept_runs / "runs" / "20200102T020000Z-bbbb" / "run.json").read_text())
    only["columns"][0]["id"] = "tf2.10.1-cpu-py310@cpu"
    (kept_runs / "runs" / only["id"] / "run.json").write_text(json.dumps(only))
    messages = retention.apply(kept_runs, 30, 60)
    assert left(kept_runs) == ["bbbb", "dddd"], "one column of bbbb was measured in no later run"
    assert [(folder / "logs").exists() for folder in sorted((kept_runs / "runs").iterdir())] == [False, True]
    assert len(messages) == 3


def test_what_is_not_a_finished_run_of_this_project_is_kept(kept_runs: Path) -> None:
    runs = kept_runs / "runs"
    (runs / "20200101T020000Z-aaaa").rename(kept_runs / "elsewhere")
    (runs / "20200101T020000Z-aaaa").symlink_to(kept_runs / "elsewhere")
    (runs / "20200102T020000Z-bbbb").rename(runs / "mine")
    info = json.loads((runs / "20200103T020000Z-cccc" / "run.json").read_text())
    (runs / "20200103T020000Z-cccc" / "run.json").write_text(json.dumps({**info, "finished": ""}))
    assert retention.apply(kept_runs, 1, 30) == []
    assert (kept_runs / "elsewhere" / "logs" / "x.log").is_file()


def test_environments_that_no_run_has_used_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean, "_unused_images", lambda *_: [])
    used, unused = "ab" * 32, "cd" * 32
    names = [f"tf2.18.1-cpu-py311-{lock[:16]}" for lock in (used, unused, "ef" * 32)] + ["mine"]
    for name in names:
        folder = tmp_path / "venvs" / name
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    os.utime(tmp_path / "venvs" / names[2])
    messages = clean.remove_unused({used}, 30, tmp_path)
    assert messages == (f"removed {names[1]}, which no run has used for 30 days",)
    assert sorted(path.name for path in (tmp_path / "venvs").iterdir()) == sorted([names[0], names[2], "mine"])


def test_two_nights_at_once(tmp_path: Path) -> None:
    options = argparse.Namespace(reports=tmp_path, wait=0.0, command="nightly one")
    with nightly.lock(options), pytest.raises(BusyError, match="nightly one") as caught, nightly.lock(options):
        pass
    assert "--wait" in caught.value.hint
