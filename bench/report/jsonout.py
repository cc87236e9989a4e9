"""The view as JSON, words and numbers, under a schema version of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.report.view import SCHEMA

if TYPE_CHECKING:
    from bench.report.view import Entry, Half, View
    from bench.verdict.judgement import Verdict
    from bench.verdict.timing import Price


def render(view: View) -> str:
    """The page as JSON. Unknown is null; times are in seconds, bounds are shares from 0 to 1."""
    document = {
        "schema": SCHEMA,
        "run": view.run,
        "answer": list(view.answer),
        "pairs": [
            {
                "cell": line.cell,
                "label": line.label,
                "rank": line.rank,
                "safe": line.safe,
                "sentence": line.sentence,
                "counts": {one.word: one.number for one in line.counts},
            }
            for line in view.lines
        ],
        "counts": {
            "off": {one.word: one.number for one in view.counts_off},
            "on": {one.word: one.number for one in view.counts_on},
        },
        "notices": [
            {"kind": one.kind, "title": one.title, "text": one.text, "items": list(one.items)} for one in view.notices
        ],
        "facts": [{"label": fact.label, "value": fact.value} for fact in view.facts],
        "columns": [
            {"cell": column.cell, "label": column.label, "status": column.blocked or "ready", "reason": column.reason}
            for column in view.columns
        ],
        "kernels": [
            {
                "kernel": row.kernel,
                "family": row.family,
                "control": row.control,
                "worst": [_entry(entry) for entry in row.entries],
                "conditions": [
                    {"condition": sub.condition, "cells": [_entry(entry) for entry in sub.entries]}
                    for sub in row.conditions
                ],
            }
            for row in view.rows
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _entry(entry: Entry) -> dict[str, Any]:
    return {"cell": entry.cell, "off": _half(entry.off), "on": _half(entry.on)}


def _half(half: Half) -> dict[str, Any]:
    return {
        "status": half.word,
        "symbol": half.symbol,
        "why": half.why,
        "strength": half.strength,
        "classes": half.letters.split(),
        "verdict": _verdict(half.verdict) if half.verdict else None,
        "price": _price(half.price_data) if half.price_data else None,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    found, timing = verdict.comparison, verdict.timing
    return {
        "condition": verdict.condition,
        "status": verdict.status.value,
        "rung": verdict.rung.label if verdict.rung is not None else None,
        "passed": verdict.passed,
        "processes": found.processes,
        "repeats": found.repeats,
        "compared": found.compared,
        "differed": found.differed,
        "bound": round(found.bound, 6),
        "differ_within": found.unsteady,
        "digests": [{"digest": digest, "count": number} for digest, number in found.digests],
        "changed_value": verdict.changed_value,
        "nan": found.nan,
        "outcomes": dict(verdict.outcomes),
        "error_class": verdict.error_class,
        "measured": verdict.measured,
        "taken_over": verdict.taken_over,
        "time": {
            "kind": timing.kind.value,
            "median_s": timing.median_s,
            "low_s": timing.low_s,
            "high_s": timing.high_s,
            "per_process_s": list(timing.per_process),
        }
        if timing
        else None,
    }


def _price(price: Price) -> dict[str, Any]:
    return {
        "ratio": price.ratio,
        "low": price.low,
        "high": price.high,
        "resolved": price.resolved,
        "why": price.why,
        "kind": price.kind.value,
        "processes_on": price.processes_on,
        "processes_off": price.processes_off,
    }
