"""The view as JSON, words and numbers, under a schema version of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.report import numbers
from bench.report.view import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.report.view import Count, Entry, Environment, Fact, Half, Instrument, Row, Upgrade, View
    from bench.verdict.judgement import Judgement


def render(view: View) -> str:
    """The page as JSON. Unknown is null; times are in seconds, bounds and rates are shares from 0 to 1."""
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
                "counts": _counts(line.counts),
            }
            for line in view.lines
        ],
        "counts": {"off": _counts(view.counts_off), "on": _counts(view.counts_on)},
        "notices": [
            {"kind": one.kind, "title": one.title, "text": one.text, "items": list(one.items)} for one in view.notices
        ],
        "facts": [{"label": fact.label, "value": fact.value} for fact in view.facts],
        "columns": [
            {
                "cell": column.cell,
                "label": column.label,
                "status": column.blocked or "ready",
                "reason": column.reason,
                **numbers.column(cell),
            }
            for column, cell in zip(view.columns, view.judgement.info.cells, strict=True)
        ],
        "kernels": [_row(row) for row in view.rows],
        "changes": [
            {
                "cell": one.cell,
                "kernel": one.kernel,
                "condition": change.condition,
                "difference": numbers.difference(change.difference),
            }
            for one in view.details
            for change in one.changes
        ],
        "accuracy": numbers.accuracies(view.judgement),
        "instrument": _instrument(view.judgement, view.instrument),
        "upgrades": [_upgrade(one) for one in view.upgrades],
        "environments": [_environment(one) for one in view.environments],
    }
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _counts(counts: Iterable[Count]) -> dict[str, int]:
    return {one.word: one.number for one in counts}


def _row(row: Row) -> dict[str, Any]:
    return {
        "kernel": row.kernel,
        "family": row.family,
        "control": row.control,
        "own": row.own,
        "worst": [_entry(entry) for entry in row.entries],
        "conditions": [
            {"condition": sub.condition, "cells": [_entry(entry) for entry in sub.entries]} for sub in row.conditions
        ],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {"cell": entry.cell, "off": _half(entry.off), "on": _half(entry.on)}


def _half(half: Half) -> dict[str, Any]:
    return {
        "status": half.word,
        "symbol": half.symbol,
        "why": half.why,
        "strength": half.strength,
        "apart": half.apart,
        "classes": half.letters.split(),
        "verdict": numbers.verdict(half.verdict) if half.verdict else None,
        "price": numbers.price(half.price_data) if half.price_data else None,
    }


def _instrument(judgement: Judgement, shown: Instrument) -> dict[str, Any]:
    return {
        "sentence": shown.sentence,
        "places": numbers.sights(judgement),
        "gpu": list(shown.gpu),
        "gpu_controls": numbers.gpu_controls(judgement),
    }


def _upgrade(one: Upgrade) -> dict[str, Any]:
    return {
        "from": one.before,
        "to": one.after,
        "step": one.step,
        "alone": one.alone,
        "moved": one.moved,
        "sentences": list(one.sentences),
        "prices": [{"kernel": kernel, "mode": mode, **numbers.price(price)} for kernel, mode, price in one.prices],
    }


def _environment(one: Environment) -> dict[str, Any]:
    return {
        "cell": one.cell,
        "provenance": _facts(one.provenance),
        "gpu": _facts(one.gpu),
        "libraries": _facts(one.libraries),
        "settings": {name: dict(zip(one.groups, values, strict=True)) for name, values in one.settings},
    }


def _facts(facts: Iterable[Fact]) -> dict[str, str]:
    return {fact.label: fact.value for fact in facts}
