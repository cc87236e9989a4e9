"""What ``diff <column> <kernel>`` prints: two samples of a kernel side by side, tensor by tensor."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.report.build.distances import brief, element, first_difference, sentences, values
from bench.report.build.notes import place, together
from bench.report.formatting import TIMES, clean, hexadecimal
from bench.report.text.layout import WIDTH, table, wrapped
from bench.verdict import difference
from bench.verdict.messages import count
from bench.verdict.status import Status

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
#: Names that are suggested for a misspelt one, and that are listed where none is similar.
_MOST_SUGGESTIONS, _MOST_NAMES = 3, 10


def text(
    run: Run,
    results: RunResults,
    column: str,
    kernel: str,
    *,
    digest_a: str = "",
    digest_b: str = "",
    width: int = WIDTH,
) -> str:
    """Return every digest of the kernel in the column, and two of them side by side.

    Args:
        run: the run, for its stored values.
        results: its verdicts.
        column: the id of a column, or its pair where that is unique.
        kernel: the name of a row.
        digest_a: the beginning of a digest to compare; where both are empty, the most telling pair is compared.
        digest_b: the beginning of the digest to compare it with.
        width: characters in a line.

    Raises:
        ConfigError: no such column, kernel or digest.
    """
    column = _column(column, [known.id for known in results.info.columns])
    _require(kernel, [known.name for known in results.info.kernels], "kernel")
    verdicts = [verdict for verdict in results.verdicts if (verdict.column, verdict.kernel) == (column, kernel)]
    seen = difference.digests_of(results, column, kernel)
    head = f"{clean(kernel)} in {clean(column)}"
    if not seen:
        return (
            "\n".join([wrapped(f"{head}: there is nothing to compare.", width), *_without_samples(verdicts, width)])
            + "\n"
        )
    parts = [wrapped(f"{head}: {_spread(verdicts, seen)}", width), _digests(results, verdicts, seen, width)]
    parts += _without_samples(verdicts, width)
    pair = _pair(verdicts, seen, digest_a, digest_b)
    if pair is not None:
        parts += _compared(run, results, kernel, pair, width)
        parts += _recorded(verdicts, pair, width)
    return "\n\n".join(parts) + "\n"


def _column(name: str, ids: Sequence[str]) -> str:
    """Return the id of the column that a name means: its id, or its pair with or without the Python minor if unique."""
    matches = [column for column in ids if name in (column, column.partition("@")[0], column.partition("-py")[0])]
    if len(matches) == 1:
        return matches[0]
    _require(name, ids, "column")
    return name


def _require(name: str, names: Sequence[str], kind: str) -> None:
    """Raise ConfigError with similar names if a run has no column or kernel of this name."""
    if name in names:
        return
    near = get_close_matches(name, names, n=_MOST_SUGGESTIONS, cutoff=0.4)
    near = near or [known for known in names if name and name.lower() in known.lower()][:_MOST_SUGGESTIONS]
    listed = ", ".join(map(clean, near or list(names)[:_MOST_NAMES])) or "none"
    hint = f"Did you mean {listed}?" if near else f"It has: {listed}."
    raise ConfigError(f"This run has no {kind} {clean(name)!r}.", hint)


def _spread(verdicts: Sequence[Verdict], seen: Sequence[KernelDigest]) -> str:
    """How many digests there are, and under which variations and modes the kernel was nondeterministic."""
    total = count(sum(digest.total for digest in seen), "sample")
    places = [place(verdict) for verdict in verdicts]
    varied: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.comparison.varies:
            varied.setdefault(_difference_word(verdict), []).append(place(verdict))
    named = " and ".join(
        f"{word} under {together(where, places) or 'every variation and mode'}" for word, where in varied.items()
    )
    if len(seen) == 1:
        if varied:
            return f"one digest in {total}, but {named}; the page gives the reason."
        return f"one digest in {total}, over all variations and modes, so there is nothing to compare."
    where = named if varied else "within one variation and mode the bits were always equal"
    return f"{count(len(seen), 'digest')} in {total}; {where}."


def _difference_word(verdict: Verdict) -> str:
    """Return ``nondeterministic``, or ``reproducible-in-process`` where each process agreed with itself."""
    inside = verdict.status is Status.REPRODUCIBLE_IN_PROCESS
    return str(verdict.status if inside else Status.NONDETERMINISTIC)


def _digests(results: RunResults, verdicts: Sequence[Verdict], seen: Sequence[KernelDigest], width: int) -> str:
    """Every digest: its letter, where it was seen and how often, its first sample, and whether values were stored."""
    letters = {
        verdict.comparison.digests[0][0]: verdict.digest_class
        for verdict in results.verdicts
        if verdict.digest_class and verdict.kernel == verdicts[0].kernel
    }
    rows = [
        [
            hexadecimal(digest.digest),
            letters.get(digest.digest, ""),
            "; ".join(f"{clean(variation)}, {mode} {TIMES}{number}" for variation, mode, number in digest.places),
            _first(verdicts, digest.digest),
            "yes" if digest.kept else "no",
        ]
        for digest in seen[:_MOST_DIGESTS]
    ]
    text = table(rows, ["digest", "letter", "seen in", "first in", "stored"], width)
    more = len(seen) - len(rows)
    return f"{text}\nand {count(more, 'digest')} more" if more > 0 else text


def _first(verdicts: Iterable[Verdict], digest: str) -> str:
    """Round and repetition of the first sample with this digest."""
    for verdict in verdicts:
        for observation in verdict.observations:
            for sample in observation.own:
                if sample.digest == digest:
                    return difference.sample_name(observation, sample)
    return ""


def _pair(
    verdicts: Sequence[Verdict], seen: Sequence[KernelDigest], digest_a: str, digest_b: str
) -> tuple[str, str] | None:
    """Return the digests to compare: the requested ones, else the most telling; None where there is only one."""
    chosen = [_chosen(seen, prefix) if prefix else "" for prefix in (digest_a, digest_b)]
    if all(chosen):
        return chosen[0], chosen[1]
    stored = {digest.digest for digest in seen if digest.kept}
    pairs = sorted(_pairs_to_compare(verdicts, seen), key=lambda pair: -sum(digest in stored for digest in pair))
    if not any(chosen):
        return pairs[0] if pairs else None
    fixed = next(filter(None, chosen))
    partner = next((second if first == fixed else first for first, second in pairs if fixed in (first, second)), "")
    partner = partner or next((digest.digest for digest in seen if digest.digest != fixed), "")
    if not partner:
        return None
    return (fixed, partner) if chosen[0] else (partner, fixed)


def _chosen(seen: Sequence[KernelDigest], prefix: str) -> str:
    """Return the one digest that begins with a prefix; raise ConfigError where none or more than one does."""
    matches = [digest.digest for digest in seen if digest.digest.startswith(prefix.lower())]
    if len(matches) == 1:
        return matches[0]
    what = f"{count(len(matches), 'digest')} of this kernel begin" if matches else "No digest of this kernel begins"
    names = ", ".join(hexadecimal(digest.digest) for digest in seen[:_MOST_DIGESTS])
    raise ConfigError(f"{what} with {clean(prefix)!r}.", f"Choose from: {names}.")


def _pairs_to_compare(verdicts: Sequence[Verdict], seen: Sequence[KernelDigest]) -> list[tuple[str, str]]:
    """Pairs worth comparing, the most telling first: within one mode (on before off), off and on, two variations."""
    stored = {digest.digest for digest in seen if digest.kept}
    pairs: list[tuple[str, str]] = []
    for mode in ("on", "off"):
        for verdict in verdicts:
            if verdict.mode == mode and len(verdict.comparison.digests) > 1:
                names = [digest for digest, _ in verdict.comparison.digests]
                names.sort(key=lambda digest: digest not in stored)  # stable: the most frequent stay in front
                pairs.append((names[0], names[1]))
    main = {
        (verdict.variation, verdict.mode): verdict.comparison.digests[0][0]
        for verdict in verdicts
        if verdict.comparison.digests
    }
    pairs += [
        (digest, main[name, "on"]) for (name, mode), digest in main.items() if mode == "off" and (name, "on") in main
    ]
    pairs += [(first, second) for first in main.values() for second in main.values()]
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _compared(run: Run, results: RunResults, kernel: str, pair: tuple[str, str], width: int) -> list[str]:
    """Two digests, tensor by tensor."""
    names = f"{hexadecimal(pair[0])} (a) against {hexadecimal(pair[1])} (b)"
    if pair[0] == pair[1]:
        return [f"{names}: the same digest, so the same bits."]
    lines = difference.side_by_side(run, kernel, *pair)
    if not lines:
        lost = [digest for digest in pair if (kernel, digest) not in results.kept.rows]
        what = " and ".join(hexadecimal(digest) for digest in lost) or "one of them that can be read"
        reason = f"no values were stored of {what} (a run stores a limited amount)"
        return [wrapped(f"{names}: they cannot be compared: {reason}.", width)]
    unequal = [line for line in lines if not line.same]
    verb = "differs" if len(unequal) == 1 else "differ"
    heads = ["step", "tensor", "", "element", "a", "b", "difference"]
    parts = [
        wrapped(f"{names}: {len(unequal)} of {count(len(lines), 'tensor')} {verb}.", width),
        table(_rows(lines), heads, width),
    ]
    if any(line.kept < line.elements for line in unequal):
        parts.append(wrapped("Of large tensors only some elements are stored; V_c and max diff are over these.", width))
    return parts


def _rows(lines: Sequence[Line]) -> list[list[str]]:
    """One row for each tensor that differs; neighbours that agree share one."""
    rows: list[list[str]] = []
    for same, group in groupby(lines, key=lambda line: line.same):
        tensors = list(group)
        if same and len(tensors) >= _ALIKE:
            ends = [_step(tensors[0]), _step(tensors[-1])]
            steps = ends[0] if ends[0] == ends[1] else " to ".join(ends)
            rows.append([steps, f"({len(tensors)} tensors)", "same", "", "", "", ""])
        else:
            rows += [_row(line) for line in tensors]
    more = len(rows) - _MOST_ROWS
    return [*rows[:_MOST_ROWS], *([["", f"(and {more} more rows)", "", "", "", "", ""]] if more > 0 else [])]


def _step(line: Line) -> str:
    return "output" if line.step is None else str(line.step)


def _row(line: Line) -> list[str]:
    if line.same:
        return [_step(line), clean(line.tensor), "same", "", "", "", ""]
    index = element(line.index) if line.index is not None else ""
    distance = brief(line.distance) if line.distance and line.index is not None else clean(line.note)
    return [_step(line), clean(line.tensor), "differs", index, *values(line.first, line.other), distance]


def _recorded(verdicts: Sequence[Verdict], pair: tuple[str, str], width: int) -> list[str]:
    """What the records say of differences inside a process, where all elements could be compared."""
    by_text: dict[tuple[str, ...], list[str]] = {}
    for verdict in verdicts:
        recorded = verdict.difference
        names = {digest for digest, _ in verdict.comparison.digests}
        if recorded is not None and set(pair) <= names:
            at = recorded.first_difference
            first = [first_difference(at)] if at else []
            by_text.setdefault((*sentences(recorded), *first), []).append(place(verdict))
    places = [place(verdict) for verdict in verdicts]
    return [
        "\n".join(
            [f"{together(where, places) or 'Everywhere'}:", *(wrapped(f"  {text}", width, "    ") for text in texts)]
        )
        for texts, where in by_text.items()
    ]


def _without_samples(verdicts: Sequence[Verdict], width: int) -> list[str]:
    """Variations and modes that gave no sample, with the reason."""
    places = [place(verdict) for verdict in verdicts]
    by_reason: dict[str, list[str]] = {}
    for verdict in verdicts:
        if not verdict.comparison.digests:
            by_reason.setdefault(f"{verdict.status}. {clean(verdict.why)}", []).append(place(verdict))
    rows = [
        wrapped(f"no sample in {together(where, places) or 'any variation'}: {reason}", width, "  ")
        for reason, where in by_reason.items()
    ]
    return ["\n".join(rows)] if rows else []
