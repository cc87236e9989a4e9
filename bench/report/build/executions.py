"""Two variations, or two kernels, compared within every column: graph, eager and XLA."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench.report.build.columns import labels_by_column
from bench.report.formatting import clean, figure
from bench.report.view import ExecutionRow, Executions
from bench.verdict.execution import SAME, agreement
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bench.verdict.execution import Agreement
    from bench.verdict.results import RunResults


def executions(
    results: RunResults, before: str, after: str, modes: Collection[str] = ("off", "on"), kernels: Sequence[str] = ()
) -> Executions:
    """Compare two variations of every kernel, or two kernels under the first variation, in every column.

    Args:
        results: the run.
        before: a variation or a kernel.
        after: another one of the same kind.
        modes: the modes to compare.
        kernels: patterns of kernel names, all kernels without one.
    """
    names = labels_by_column(results)
    rows, words = [], Counter[str]()
    for column, mode, one, two in _places(results, before, after, modes):
        if kernels and not any(fnmatchcase(name, glob) for name in (one[0], two[0]) for glob in kernels):
            continue
        first, other = (results.of(column, kernel, variation, mode) for kernel, variation in (one, two))
        if first is None or other is None:
            continue
        found = agreement(results.kept, first, other)
        label = [f"{kernel} ({variation})" if one[1] != two[1] else kernel for kernel, variation in (one, two)]
        words[found.word if found.word in (SAME, "different", "not compared") else "within some ULP"] += 1
        rows.append(
            ExecutionRow(
                column=names[column],
                mode=mode,
                first=clean(label[0]),
                other=clean(label[1]),
                agreement=clean(_words(found)),
                ulps=found.ulps,
                wrong=clean(wrong_text(found, *label)),
            )
        )
    wrong = sum(bool(row.wrong) for row in rows)
    parts = [f"{number} {word}" for word, number in words.most_common()]
    parts += [f"{wrong} with values that are wrong against float64"] if wrong else []
    sentence = f"{count(len(rows), 'comparison')} of {clean(before)} with {clean(after)}: {', '.join(parts) or 'none'}."
    compared = len(rows) - words["not compared"]
    return Executions(before=clean(before), after=clean(after), sentence=sentence, rows=tuple(rows), compared=compared)


def _places(
    results: RunResults, before: str, after: str, modes: Collection[str]
) -> Iterator[tuple[str, str, tuple[str, str], tuple[str, str]]]:
    """Yield column, mode, and kernel and variation of both sides."""
    by_variation = before in results.variations
    names = [kernel.name for kernel in results.info.kernels if not kernel.control] if by_variation else [before]
    for column in results.info.columns:
        for name in names:
            for mode in modes:
                if by_variation:
                    yield column.id, mode, (name, before), (name, after)
                else:
                    yield column.id, mode, (before, results.variations[0]), (after, results.variations[0])


def agreement_text(found: Agreement, first: str, other: str) -> str:
    """Say in one line how far two sides agree, and which is wrong against float64."""
    return "; ".join(filter(None, (_words(found), wrong_text(found, first, other))))


def wrong_text(found: Agreement, first: str, other: str) -> str:
    """Name the sides that are wrong against float64, with the error of each output; "" where none is known to be."""
    names = {"first": first, "other": other}
    texts = [
        f"{names[side]} is wrong against float64 ({', '.join(f'{name} by {figure(e)}' for name, e in errors.items())})"
        for side, errors in found.wrong.items()
    ]
    return " and ".join(texts)


def _words(found: Agreement) -> str:
    return f"{found.word} ({found.why})" if found.why else found.word
