"""Build the view model from the results of a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report import labels
from bench.report.build import hosts, summary
from bench.report.build.columns import columns
from bench.report.build.control_checks import control_checks
from bench.report.build.details import details
from bench.report.build.environment import environments
from bench.report.build.group_distances import with_distances
from bench.report.build.heat_map import heat_map
from bench.report.build.interval_plots import overhead_plots, upgrade_plots
from bench.report.build.matrix import families
from bench.report.build.page_data import comparisons, narrower_rankings
from bench.report.build.previous_run import since
from bench.report.build.ranking import choice, needs
from bench.report.build.timing import noise_floor
from bench.report.build.upgrade import upgrades
from bench.report.build.warnings import notices
from bench.report.formatting import clean
from bench.report.view import SCHEMA, View
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.results import RunResults


def _no_times(results: RunResults) -> str:
    """Say why there is no overhead."""
    if any(verdict.discarded for verdict in results.verdicts):
        return "No usable times were measured; the warnings say why times were left out."
    return "No times were measured." if results.info.finished else "No times were measured yet."


def build(results: RunResults, before: RunResults | None = None, notes: Sequence[str] = (), history: str = "") -> View:
    """Return the view of a run. The same results always give the same view.

    Args:
        results: the evaluated run.
        before: the last run of the same kind, None where there is none.
        notes: why other earlier runs were not used for the comparison.
        history: the address of the page of all runs, "" for none.
    """
    groups = families(results)
    rows = [row for family in groups for row in family.rows]
    evidence = details(results, rows)
    groups, steps = with_distances(groups, evidence, upgrades(results))
    heads = columns(results)
    controls = control_checks(results)
    number_of_controls = sum(bool(row.control) for row in rows)
    numbers = ((len(rows) - number_of_controls, "kernel"), (number_of_controls, "control"), (len(heads), "column"))
    legend = [*labels.STATUS_LABELS.values(), labels.PASS, labels.FAIL, labels.UNDECIDED, labels.NOT_PLANNED]
    issues = {verdict.known_issue.id: verdict.known_issue for verdict in results.verdicts if verdict.known_issue}
    view = View(
        schema_version=SCHEMA,
        run=clean(results.info.id),
        title=f"tfrepro {clean(results.info.id)}",
        heat_map=heat_map(heads, groups),
        answer=summary.sentences(results, controls),
        lines=summary.lines(results),
        facts=summary.facts(results),
        counts_off=summary.counts(results, "off"),
        counts_on=summary.counts(results, "on"),
        notices=notices(results),
        since=since(results, before, notes),
        caption=f"{', '.join(count(number, thing) for number, thing in numbers)}.",
        columns=heads,
        families=groups,
        details=evidence,
        noise_floor=noise_floor(results),
        control_checks=controls,
        known_issues=tuple(issues[name] for name in sorted(issues)),
        choice=choice(results),
        needs=needs(results),
        hosts=hosts.comparisons(results),
        upgrades=steps,
        environments=environments(results),
        legend=tuple((word.symbol, word.word, word.tone, word.meaning) for word in legend),
        terms=(*labels.TERMS, *([labels.SAME_ACROSS_HOSTS] if results.hosts else [])),
    )
    pairs = comparisons(view, results)
    return dataclasses.replace(
        view,
        comparisons=pairs,
        rankings=narrower_rankings(results),
        overhead_plots=overhead_plots(view.lines, rows),
        no_times=_no_times(results),
        upgrade_plots=upgrade_plots(pairs, rows),
        history=history,
        in_progress=results.info.in_progress,
        deciding_variation=clean(results.deciding_variation),
    )
