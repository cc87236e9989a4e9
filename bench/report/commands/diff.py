"""What ``python -m bench diff <column> <kernel>`` prints: two samples of a kernel side by side, tensor by tensor."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.report.build.distances import brief, element, first_difference, sentences, values
from bench.report.build.notes import place, together
from bench.report.formatting import TIMES, clean, hexadecimal
from bench.verdict import difference
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.store.run import Run
    from bench.verdict.difference import KernelDigest
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.tensor_diff import Line

#: Digests that are listed, and rows of tensors that differ.
_MOST_DIGESTS = 20
_MOST_ROWS = 60
#: Neighbouring tensors that agree share a line from this number on.
_ALIKE = 3
_NEAR = 3
#: A column is folded to no less than this.
_FOLDED = 12


def text(
    run: Run, results: RunResults, column: str, kernel: str, *, one: str = "", other: str = "", width: int = 120
) -> str:
    """The candidates (every digest of the kernel in the column), and two of them side by side.

    Args:
        run: the run, for its kept values.
        results: its verdicts.
        column: the id of a column, or its pair where that is unique.
        kernel: the name of a row.
        one: the beginning of a digest to compare; the most telling pair where empty.
        other: the same of the other side.
        width: columns of the terminal.

    Raises:
        ConfigError: no such column, kernel or digest.
    """
    column = _column(column, [one.id for one in results.info.columns])
    _known(kernel, [one.name for one in results.info.kernels], "kernel")
    verdicts = [one for one in results.verdicts if (one.column, one.kernel) == (column, kernel)]
    seen = difference.digests_of(results, column, kernel)
    head = f"{clean(kernel)} in {clean(column)}"
    if not seen:
        return "\n".join([f"{head}: there is nothing to compare.", *_silent(verdicts)]) + "\n"
    parts = [f"{head}: {_spread(verdicts, seen)}", _candidates(results, verdicts, seen, width), *_silent(verdicts)]
    pair = _pair(verdicts, seen, one, other)
    if pair is not None:
        parts += _compared(run, results, kernel, pair, width)
        parts += _told(verdicts, pair)
    return "\n\n".join(parts) + "\n"


def _column(name: str, ids: Sequence[str]) -> str:
    """The id of a column named by it, or by what of it is unique: its pair, with or without the Python minor."""
    found = [one for one in ids if name in (one, one.partition("@")[0], one.partition("-py")[0])]
    if len(found) == 1:
        return found[0]
    _known(name, ids, "column")
    return name


def _known(name: str, names: Sequence[str], kind: str) -> None:
    if name in names:
        return
    near = get_close_matches(name, names, n=_NEAR, cutoff=0.4)
    near = near or [known for known in names if name and name.lower() in known.lower()][:_NEAR]
    listed = ", ".join(map(clean, near or list(names)[:10])) or "none"
    raise ConfigError(f"This run has no {kind} {clean(name)!r}.", f"{'Near' if near else 'It has'}: {listed}.")


def _spread(verdicts: Sequence[Verdict], seen: Sequence[KernelDigest]) -> str:
    """How many digests there are, and whether the kernel ever varied."""
    total = count(sum(one.total for one in seen), "sample")
    places = [place(one) for one in verdicts]
    varied = [place(one) for one in verdicts if one.comparison.varies]
    named = together(varied, places) or "every variation and mode"
    if len(seen) == 1:
        if varied:
            return f"one digest in {total}, and yet it varied ({named}): see the verdict's reason."
        return f"it never varied. One digest in {total}, over all variations and modes; nothing to compare."
    where = f"it varied under {named}" if varied else "it never varied under one variation and mode"
    return f"{count(len(seen), 'digest')} in {total}; {where}."


def _candidates(results: RunResults, verdicts: Sequence[Verdict], seen: Sequence[KernelDigest], width: int) -> str:
    """Every digest: its class, where it was seen and how often, its first sample, and whether values were kept."""
    letters = {
        one.comparison.digests[0][0]: one.digest_class
        for one in results.verdicts
        if one.digest_class and one.kernel == verdicts[0].kernel
    }
    rows = [
        [
            hexadecimal(one.digest),
            letters.get(one.digest, ""),
            "; ".join(f"{clean(variation)}, {mode} {TIMES}{number}" for variation, mode, number in one.places),
            _first(verdicts, one.digest),
            "yes" if one.kept else "no",
        ]
        for one in seen[:_MOST_DIGESTS]
    ]
    table = _table(rows, ["digest", "class", "seen in", "first in", "kept"], width, fold=(2, 3))
    more = len(seen) - len(rows)
    return f"{table}\nand {count(more, 'digest')} more" if more > 0 else table


def _first(verdicts: Iterable[Verdict], digest: str) -> str:
    """Round and repetition of the first sample with this digest."""
    for verdict in verdicts:
        for observation in verdict.observations:
            for sample in (*observation.repetitions, *observation.timings):
                if sample.digest == digest:
                    name = "timing pass" if sample.role == "timing" else f"repetition {sample.repetition}"
                    return f"round {observation.round} {name}"
    return ""


def _pair(verdicts: Sequence[Verdict], seen: Sequence[KernelDigest], one: str, other: str) -> tuple[str, str] | None:
    """The digests to compare: as asked for, else the most telling ones; None where there is only one."""
    chosen = [_chosen(seen, prefix) if prefix else "" for prefix in (one, other)]
    if all(chosen):
        return chosen[0], chosen[1]
    kept = {found.digest for found in seen if found.kept}
    pairs = sorted(_telling(verdicts, seen), key=lambda pair: -sum(digest in kept for digest in pair))
    if not any(chosen):
        return pairs[0] if pairs else None
    fixed = next(filter(None, chosen))
    partner = next((a if b == fixed else b for a, b in pairs if fixed in (a, b)), "")
    partner = partner or next((found.digest for found in seen if found.digest != fixed), "")
    if not partner:
        return None
    return (fixed, partner) if chosen[0] else (partner, fixed)


def _chosen(seen: Sequence[KernelDigest], prefix: str) -> str:
    """The digest that begins so; raises ConfigError where none or more than one does."""
    found = [one.digest for one in seen if one.digest.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    what = f"{count(len(found), 'digest')} of this kernel begin" if found else "No digest of this kernel begins"
    names = ", ".join(hexadecimal(one.digest) for one in seen[:_MOST_DIGESTS])
    raise ConfigError(f"{what} with {clean(prefix)!r}.", f"Choose from: {names}.")


def _telling(verdicts: Sequence[Verdict], seen: Sequence[KernelDigest]) -> list[tuple[str, str]]:
    """Pairs worth comparing, the most telling first: within one mode (on before off), off and on, two variations."""
    kept = {found.digest for found in seen if found.kept}
    pairs: list[tuple[str, str]] = []
    for mode in ("on", "off"):
        for verdict in verdicts:
            if verdict.mode == mode and len(verdict.comparison.digests) > 1:
                names = [digest for digest, _ in verdict.comparison.digests]
                names.sort(key=lambda digest: digest not in kept)  # stable: the most frequent stay in front
                pairs.append((names[0], names[1]))
    main = {(one.variation, one.mode): one.comparison.digests[0][0] for one in verdicts if one.comparison.digests}
    pairs += [
        (digest, main[name, "on"]) for (name, mode), digest in main.items() if mode == "off" and (name, "on") in main
    ]
    pairs += [(first, second) for first in main.values() for second in main.values()]
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _compared(run: Run, results: RunResults, kernel: str, pair: tuple[str, str], width: int) -> list[str]:
    """Two digests, tensor by tensor, and where they first part."""
    names = f"{hexadecimal(pair[0])} (one) against {hexadecimal(pair[1])} (other)"
    if pair[0] == pair[1]:
        return [f"{names}: the same digest, so the same bits."]
    lines = difference.side_by_side(run, kernel, *pair)
    if not lines:
        lost = [digest for digest in pair if (kernel, digest) not in results.kept.rows]
        what = " and ".join(hexadecimal(digest) for digest in lost) or "one of them that can be read"
        why = f"no values were kept of {what} (a run keeps a limited amount)"
        return [f"{names}: {why}, so they cannot be put side by side."]
    unequal = [line for line in lines if not line.same]
    verb = "differs" if len(unequal) == 1 else "differ"
    heads = ["step", "tensor", "", "element", "one", "other", "apart"]
    parts = [
        f"{names}: {len(unequal)} of {count(len(lines), 'tensor')} {verb}.",
        _table(_rows(lines), heads, width, fold=(6, 1, 4, 5)),
    ]
    sampled = [line for line in unequal if line.kept < line.elements]
    if sampled:
        parts.append("Only some elements of large tensors are kept; V_c and max diff are over these.")
    return parts


def _rows(lines: Sequence[Line]) -> list[list[str]]:
    """One row a tensor that differs; neighbours that agree share one."""
    rows: list[list[str]] = []
    for same, group in groupby(lines, key=lambda line: line.same):
        found = list(group)
        if same and len(found) >= _ALIKE:
            ends = [_step(found[0]), _step(found[-1])]
            steps = ends[0] if ends[0] == ends[1] else " to ".join(ends)
            rows.append([steps, f"({len(found)} tensors)", "same", "", "", "", ""])
        else:
            rows += [_row(line) for line in found]
    more = len(rows) - _MOST_ROWS
    return [*rows[:_MOST_ROWS], *([["", f"(and {more} more rows)", "", "", "", "", ""]] if more > 0 else [])]


def _step(line: Line) -> str:
    return "output" if line.step is None else str(line.step)


def _row(line: Line) -> list[str]:
    if line.same:
        return [_step(line), clean(line.tensor), "same", "", "", "", ""]
    index = element(line.index) if line.index is not None else ""
    apart = brief(line.distance) if line.distance and line.index is not None else clean(line.note)
    return [_step(line), clean(line.tensor), "differs", index, *values(line.first, line.other), apart]


def _told(verdicts: Sequence[Verdict], pair: tuple[str, str]) -> list[str]:
    """What the records themselves say of differences inside a process, where all elements were at hand."""
    told: dict[tuple[str, ...], list[str]] = {}
    for verdict in verdicts:
        found = verdict.difference
        names = {digest for digest, _ in verdict.comparison.digests}
        if found is not None and set(pair) <= names:
            rows = (*sentences(found), *([first_difference(found.first_difference)] if found.first_difference else []))
            told.setdefault(rows, []).append(place(verdict))
    places = [place(verdict) for verdict in verdicts]
    return ["\n  ".join([f"{together(where, places) or 'Everywhere'}:", *rows]) for rows, where in told.items()]


def _silent(verdicts: Sequence[Verdict]) -> list[str]:
    """Variations and modes that gave no sample, with the reason: of these nothing is known."""
    places = [place(verdict) for verdict in verdicts]
    told: dict[str, list[str]] = {}
    for verdict in verdicts:
        if not verdict.comparison.digests:
            told.setdefault(f"{verdict.status}. {clean(verdict.why)}", []).append(place(verdict))
    rows = [f"no sample in {together(where, places) or 'any variation'}: {why}" for why, where in told.items()]
    return ["\n".join(rows)] if rows else []


def _table(rows: list[list[str]], heads: list[str], width: int, fold: Sequence[int]) -> str:
    """Columns of text; those numbered in ``fold`` are folded, one after another, until the terminal is wide enough."""
    from tabulate import MIN_PADDING, tabulate  # noqa: PLC0415 - start-up stays quick without it

    need = [max(len(heads[at]) + MIN_PADDING, *(len(row[at]) for row in rows)) for at in range(len(heads))]
    spare = width - sum(need) - 2 * (len(heads) - 1)
    limits: list[int | None] = [None] * len(heads)
    for at in fold:
        if spare < 0 and need[at] > _FOLDED:
            limit = max(_FOLDED, need[at] + spare)
            limits[at] = limit
            spare += need[at] - limit
    told = tabulate(rows, heads, tablefmt="simple", disable_numparse=True, maxcolwidths=limits)
    return "\n".join(line.rstrip() for line in told.split("\n"))
