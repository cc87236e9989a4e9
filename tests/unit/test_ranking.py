"""The choice: rules held against a second telling of them, over results of every kind."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.verdict import evaluate
from bench.verdict.digest_comparison import Comparison
from bench.verdict.paired_times import PairedTimes
from bench.verdict.ranking import (
    DOES_NOT_RUN,
    NOT_REPRODUCIBLE,
    Candidate,
    ConcernKind,
    Fit,
    choose,
    summarize_overheads,
)
from bench.verdict.ratio import TimeRatio
from bench.verdict.requirements import Requirements, find_families, required_kernels
from bench.verdict.results import RunResults, Verdict
from bench.verdict.status import Status
from bench.verdict.timing import TimeKind
from tests.unit import factory, shipped_sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What speaks against a pair, stated a second time.
AGAINST = {
    "nondeterministic",
    "reproducible-in-process",
    "crashed",
    "oom",
    "timeout",
    "error",
    "unsupported",
    "incompatible",
}

Field = tuple[Status, TimeRatio | None]


def test_a_required_variation_that_has_not_run_yet_is_unknown() -> None:
    info = factory.info(variations={"default": (), "threads=1": ()}, finished="", seconds_left=600.0)
    whole = factory.run(info)
    begun = {path: record for path, record in whole.records.items() if "/threads=1/" not in path}
    found = evaluate(dataclasses.replace(whole, records=begun))
    assert {one.fit for one in choose(found, Requirements(variations=("threads=1",)))} == {Fit.UNKNOWN}
    assert choose(found)[0].fit is not Fit.UNKNOWN


def overhead(ratio: float, low: float | None, high: float | None, *, significant: bool = True) -> TimeRatio:
    """An overhead of five pairs."""
    return TimeRatio(kind=TimeKind.STEADY, ratio=ratio, low=low, high=high, pairs=5, significant=significant)


def results(matrix_columns: Sequence[Sequence[Field]], names: Sequence[str] = (), **changes: Any) -> RunResults:
    """A results of columns ``c0``, ``c1``, ... and kernels ``k0``, ``k1``, ..., one variation, determinism on."""
    columns = tuple(
        factory.column(id=f"{name}-py311@cpu") for name in names or [f"c{n}" for n in range(len(matrix_columns))]
    )
    kernels = tuple(factory.kernel(f"k{n}") for n in range(max(map(len, matrix_columns), default=0)))
    fields = [
        (column.id, kernel.name, field)
        for column, matrix_column in zip(columns, matrix_columns, strict=True)
        for kernel, field in zip(kernels, matrix_column, strict=True)
    ]
    facts: dict[str, Any] = {
        "info": factory.info(columns=columns, kernels=(*kernels, factory.FLICKER)),
        "verdicts": tuple(verdict(column, kernel, status) for column, kernel, (status, _) in fields),
        "overheads": {(column, kernel, "default"): paid for column, kernel, (_, paid) in fields if paid},
        "times": PairedTimes(factory.run(timed=())),
        "variations": ("default",),
        "groups": {},
        "left_out": (),
        "unreadable": (),
    }
    return RunResults(**{**facts, **changes})


def verdict(column: str, kernel: str, status: Status, variation: str = "default", compared: int = 4) -> Verdict:
    """A verdict with determinism on."""
    return Verdict(
        column=column, kernel=kernel, variation=variation, mode="on", status=status, why="Told.",
        comparison=Comparison(processes=compared + 1, compared=compared),
    )  # fmt: skip


def by_column(found: Sequence[Candidate]) -> dict[str, tuple[Any, ...]]:
    """What is said of each column."""
    return {
        one.column: (one.fit, one.rank, one.tied, one.reproducible, one.overhead, one.reasons, one.unknowns)
        for one in found
    }


STATUSES = st.one_of(st.just(Status.REPRODUCIBLE), st.sampled_from(list(Status)))
ENDS = st.lists(st.floats(0.25, 4.0), min_size=3, max_size=3).map(sorted)
OVERHEADS = st.one_of(
    st.none(),
    st.builds(lambda ends, sure: overhead(ends[1], ends[0], ends[2], significant=sure), ENDS, st.booleans()),
    st.builds(lambda ratio: overhead(ratio, None, None, significant=False), st.floats(0.25, 4.0)),
)
FIELDS = st.tuples(STATUSES, OVERHEADS)
TABLES = st.integers(1, 4).flatmap(
    lambda kernels: st.lists(st.lists(FIELDS, min_size=kernels, max_size=kernels), min_size=1, max_size=5)
)
LIMITS = st.one_of(st.none(), st.floats(0.5, 3.0))


@settings(deadline=None)  # the first bound loads SciPy
@given(TABLES, LIMITS)
def test_a_pair_fits_by_the_rules_told_a_second_time(table: list[list[Field]], limit: float | None) -> None:
    for one in choose(results(table), Requirements(max_overhead=limit)):
        column = table[int(one.column[1])]
        exact = [paid for status, paid in column if status.value == "reproducible"]
        against = any(status.value in AGAINST for status, _ in column)
        within = [
            limit is None or (paid is not None and paid.high is not None and paid.high <= limit) for paid in exact
        ]
        above = [
            limit is not None and paid is not None and paid.significant and (paid.low or 0) > limit
            for _, paid in column
        ]
        if against or any(above):
            assert one.fit is Fit.NOT
        else:
            assert one.fit is (Fit.FITS if len(exact) == len(column) and all(within) else Fit.UNKNOWN)
        assert (one.fit is Fit.FITS) == (not one.reasons and not one.unknowns)
        assert (one.fit is Fit.NOT) == bool(one.reasons)


@settings(deadline=None)
@given(TABLES, LIMITS)
def test_a_rank_is_one_more_than_the_pairs_known_to_be_better(table: list[list[Field]], limit: float | None) -> None:
    found = choose(results(table), Requirements(max_overhead=limit))
    ranked = [one for one in found if one.rank is not None]

    def better(one: Candidate, other: Candidate) -> bool:
        order = [Fit.FITS, Fit.UNKNOWN, Fit.NOT]
        mine, theirs = ((side.fit is not Fit.FITS, -side.reproducible, order.index(side.fit)) for side in (one, other))
        sure = (
            one.overhead.high is not None and other.overhead.low is not None and one.overhead.high < other.overhead.low
        )
        return mine < theirs or (mine == theirs and sure)

    for one in ranked:
        assert one.rank == 1 + sum(better(other, one) for other in ranked)
        equal = [other for other in ranked if other.rank == one.rank]
        assert one.tied == (len(equal) > 1)
        assert not any(better(other, one) or better(one, other) for other in equal)
    fits = [one.rank or 0 for one in ranked if one.fit is Fit.FITS]
    others = [one.rank or 0 for one in ranked if one.fit is not Fit.FITS]
    assert max(fits, default=0) < min(others, default=len(table) + 1)
    ranks = [one.rank or len(table) + 1 for one in found]
    assert ranks == sorted(ranks)
    assert len(found) == len(table)


@settings(deadline=None)
@given(TABLES, LIMITS)
def test_a_kernel_that_varies_never_improves_a_fit(table: list[list[Field]], limit: float | None) -> None:
    before = {one.column: one.fit for one in choose(results(table), Requirements(max_overhead=limit))}
    worse = [[*column, (Status.NONDETERMINISTIC, None)] for column in table]
    for one in choose(results(worse), Requirements(max_overhead=limit)):
        assert one.fit is Fit.NOT
        assert list(Fit).index(one.fit) >= list(Fit).index(before[one.column])


@settings(deadline=None)
@given(
    TABLES,
    LIMITS,
    st.sampled_from([Status.INCONCLUSIVE, Status.CONTROL_FAILED, Status.NOT_RUN, Status.THROTTLED, Status.NAN]),
)
def test_a_pair_with_an_unknown_never_fits(table: list[list[Field]], limit: float | None, hole: Status) -> None:
    holed = [[*column, (hole, None)] for column in table]
    assert all(one.fit is not Fit.FITS for one in choose(results(holed), Requirements(max_overhead=limit)))


@settings(deadline=None)
@given(TABLES, LIMITS, st.randoms(use_true_random=False))
def test_other_columns_order_same_answer(table: list[list[Field]], limit: float | None, chance: Any) -> None:
    places = list(range(len(table)))
    chance.shuffle(places)
    plain = results(table, [f"c{place}" for place in range(len(table))])
    mixed = results([table[place] for place in places], [f"c{place}" for place in places])
    question = Requirements(max_overhead=limit)
    assert by_column(choose(plain, question)) == by_column(choose(mixed, question))


@settings(deadline=None)
@given(TABLES)
def test_the_first_screen_ranks_as_the_choice_of_everything(table: list[list[Field]]) -> None:
    found = results(table)
    here = {one.column: (one.rank, one.tied, one.reproducible, one.fit is Fit.FITS) for one in choose(found)}
    assert {one.column: (one.rank, one.tied, one.reproducible, one.fits) for one in choose(found)} == here


@settings(deadline=None)
@given(st.lists(ENDS, min_size=1, max_size=7), st.data())
def test_the_overhead_of_a_pair_holds_the_median_of_what_may_be_true(
    ends: list[list[float]], data: st.DataObject
) -> None:
    column = [(Status.REPRODUCIBLE, overhead(middle, low, high)) for low, middle, high in ends]
    found = summarize_overheads(results([column]), "c0-py311@cpu", [f"k{n}" for n in range(len(ends))])
    true = statistics.median([data.draw(st.floats(low, high)) for low, _, high in ends])
    assert found.low is not None
    assert found.high is not None
    assert found.low <= true <= found.high
    assert found.low <= (found.median or 0) <= found.high


def test_what_has_no_interval_makes_a_bill_wider() -> None:
    paid = [overhead(0.85, 0.8, 0.9), overhead(0.95, 0.9, 1.1), overhead(1.0, None, None, significant=False)]
    found = summarize_overheads(
        results([[(Status.REPRODUCIBLE, one) for one in paid]]), "c0-py311@cpu", ["k0", "k1", "k2"]
    )
    assert (found.low, found.high) == (0.8, 1.1)  # as if it could be anything from nothing to without end


def test_a_bill_counts_what_is_stated_and_names_the_dearest_and_the_cheapest() -> None:
    paid = [overhead(1.5, 1.4, 1.6), overhead(0.8, 0.7, 0.9), overhead(9.0, 0.5, 20.0, significant=False), None]
    found = summarize_overheads(
        results([[(Status.REPRODUCIBLE, one) for one in paid]]), "c0-py311@cpu", ["k0", "k1", "k2", "k3"]
    )
    assert (found.kernels, found.timed, found.significant) == (4, 3, 2)
    assert (found.median, found.low, found.high) == (1.5, 0.7, 1.6)
    assert found.slowest == ("k0", paid[0])
    assert found.fastest == ("k1", paid[1])


def test_a_overhead_without_ends_leaves_that_of_the_pair_open() -> None:
    bare = (Status.REPRODUCIBLE, overhead(1.5, None, None, significant=False))
    sure = (Status.REPRODUCIBLE, overhead(1.1, 1.05, 1.2))
    names = ["k0", "k1", "k2"]
    assert summarize_overheads(results([[bare, bare, sure]]), "c0-py311@cpu", names).low is None
    assert summarize_overheads(results([[bare, sure, sure]]), "c0-py311@cpu", names).high == 1.2
    assert summarize_overheads(results([[(Status.REPRODUCIBLE, None)]]), "c0-py311@cpu", names).median is None


@pytest.mark.parametrize(
    ("paid", "fit"),
    [
        (overhead(1.10, 1.05, 1.15), Fit.FITS),
        (overhead(1.00, 0.95, 1.10, significant=False), Fit.FITS),
        (overhead(1.10, 1.05, 1.16), Fit.UNKNOWN),
        (overhead(1.30, 1.10, 1.50), Fit.UNKNOWN),
        (overhead(1.30, 1.20, 1.50), Fit.NOT),
        (overhead(2.00, 1.20, 4.00, significant=False), Fit.UNKNOWN),
        (overhead(1.00, None, None, significant=False), Fit.UNKNOWN),
        (None, Fit.UNKNOWN),
    ],
)
def test_a_overhead_counts_with_its_whole_interval(paid: TimeRatio | None, fit: Fit) -> None:
    (found,) = choose(results([[(Status.REPRODUCIBLE, paid)]]), Requirements(max_overhead=1.15))
    assert found.fit is fit
    (anyhow,) = choose(results([[(Status.REPRODUCIBLE, paid)]]))
    assert anyhow.fit is Fit.FITS


def test_a_overhead_that_is_known_to_be_above_counts_whatever_the_bits_say() -> None:
    (found,) = choose(results([[(Status.INCONCLUSIVE, overhead(1.3, 1.2, 1.5))]]), Requirements(max_overhead=1.15))
    assert (found.fit, found.reasons[0].kind, found.unknowns[0].kind) == (
        Fit.NOT,
        ConcernKind.OVER_LIMIT,
        Status.INCONCLUSIVE,
    )


@pytest.fixture
def two_variations() -> RunResults:
    """Two kernels under two variations: ``k1`` is nondeterministic under threads=1."""
    column = "c0-py311@cpu"
    verdicts = (
        verdict(column, "k0", Status.REPRODUCIBLE, compared=9),
        verdict(column, "k0", Status.REPRODUCIBLE, "threads=1", compared=4),
        verdict(column, "k1", Status.REPRODUCIBLE),
        verdict(column, "k1", Status.NONDETERMINISTIC, "threads=1"),
    )
    table = [[(Status.REPRODUCIBLE, None)] * 2]
    return results(table, verdicts=verdicts, variations=("default", "threads=1"))


def test_the_default_variation_decides_and_others_are_also_under(two_variations: RunResults) -> None:
    (found,) = choose(two_variations)
    assert (found.fit, found.reasons, found.reproducible, found.compared) == (Fit.FITS, (), 2, 4)
    assert [(one.kind, one.kernels) for one in found.also_under] == [(Status.NONDETERMINISTIC, (("k1", "threads=1"),))]
    (only,) = choose(two_variations, Requirements(kernels=("k0",)))
    assert (only.fit, only.compared, only.also_under) == (Fit.FITS, 9, ())


def test_a_variation_counts_if_it_is_named(two_variations: RunResults) -> None:
    named = Requirements(variations=("threads=1",))
    (found,) = choose(two_variations, named)
    assert (found.fit, found.also_under) == (Fit.NOT, ())
    assert found.reasons[0].kernels == (("k1", "threads=1"),)
    assert found.fits_without == found.reasons
    (only,) = choose(two_variations, dataclasses.replace(named, kernels=("k0",)))
    assert (only.fit, only.compared, only.reproducible, only.kernels) == (Fit.FITS, 4, 1, 1)
    with pytest.raises(ConfigError, match="no variation 'thread=1'; did you mean 'threads=1'"):
        choose(two_variations, Requirements(variations=("thread=1",)))


@pytest.mark.parametrize(
    ("column", "without"),
    [
        ([Status.REPRODUCIBLE, Status.REPRODUCIBLE], []),
        ([Status.REPRODUCIBLE, Status.ERROR], [("k1", Status.ERROR)]),
        ([Status.NONDETERMINISTIC, Status.REPRODUCIBLE], [("k0", Status.NONDETERMINISTIC)]),
        ([Status.INCONCLUSIVE, Status.REPRODUCIBLE], [("k0", Status.INCONCLUSIVE)]),
        ([Status.ERROR, Status.NONDETERMINISTIC], []),
    ],
)
def test_what_keeps_a_pair_from_fitting_is_named(column: list[Status], without: list[tuple[str, Status]]) -> None:
    (found,) = choose(results([[(status, None) for status in column]]))
    assert [(name, one.kind) for one in found.fits_without for name, _ in one.kernels] == without
    assert (found.fit is Fit.FITS) == all(status is Status.REPRODUCIBLE for status in column)


def test_not_reproducible_and_does_not_run_are_told_apart() -> None:
    assert {str(status) for status in NOT_REPRODUCIBLE | DOES_NOT_RUN} == AGAINST
    (found,) = choose(results([[(Status.NONDETERMINISTIC, None), (Status.CRASHED, None), (Status.NAN, None)]]))
    assert [(one.not_reproducible, one.does_not_run) for one in found.reasons] == [(True, False), (False, True)]
    assert not any(one.not_reproducible or one.does_not_run for one in found.unknowns)


def test_what_has_no_kernel_fits_nothing() -> None:
    (found,) = choose(results([[]]))
    assert (found.fit, found.rank, found.unknowns[0].kind) == (Fit.UNKNOWN, None, ConcernKind.NOTHING)
    assert choose(results([])) == ()


GPU_COLUMNS = (
    factory.column(),
    factory.column("2.18.1", "12.5"),
    factory.column("2.19.1", "12.5", status="incompatible"),
)


@pytest.fixture(scope="module")
def mixed() -> RunResults:
    """A CPU column, one on an H100 under 550.54.15, and one that is impossible there."""
    return evaluate(factory.run(factory.info(columns=GPU_COLUMNS)))


@pytest.mark.parametrize(
    ("device", "driver", "fitting", "words"),
    [
        ("", "", {"cpu", "h100"}, ""),
        ("cpu", "", {"cpu"}, "measured on h100, which says nothing about a CPU"),
        ("sm_90", "", {"h100"}, "measured on a CPU, which says nothing about a GPU"),
        ("h100", "550", {"h100"}, "measured on a CPU, which says nothing about a GPU"),
        ("h100", "550.54.15", {"h100"}, "measured on a CPU, which says nothing about a GPU"),
        ("h100", "55", set(), "measured under driver 550.54.15, not under 55"),
        ("sm_90", "535", set(), "measured under driver 550.54.15, not under 535"),
        ("sm_80", "", set(), "measured on h100 (sm_90), not on sm_80"),
        ("h10", "", set(), "measured on h100, not on h10"),
        ("", "535", set(), "measured on a CPU, which says nothing about a GPU"),
    ],
)
def test_evidence_holds_where_it_was_measured(
    mixed: RunResults, device: str, driver: str, fitting: set[str], words: str
) -> None:
    found = choose(mixed, Requirements(device=device, driver=driver))
    assert {one.column.partition("@")[2] for one in found if one.fit is Fit.FITS} == fitting
    concerns = [concern for one in found for concern in one.unknowns if concern.kind is ConcernKind.ELSEWHERE]
    assert words in " ".join(concern.why for concern in concerns)
    for one in found:
        if any(concern.kind is ConcernKind.ELSEWHERE for concern in one.unknowns):
            assert (one.fit, one.rank, one.reproducible, one.overhead.timed, one.counts) == (
                Fit.UNKNOWN,
                None,
                0,
                0,
                (),
            )


def test_what_cannot_be_on_one_gpu_is_not_refused_on_another(mixed: RunResults) -> None:
    gone = GPU_COLUMNS[2].id
    here = {one.column: one for one in choose(mixed, Requirements(device="h100"))}[gone]
    there = {one.column: one for one in choose(mixed, Requirements(device="sm_120"))}[gone]
    assert (here.fit, here.reasons[0].kind) == (Fit.NOT, Status.INCOMPATIBLE)
    assert (there.fit, there.unknowns[0].why) == (Fit.UNKNOWN, "not run on the required device")


@pytest.mark.parametrize("capability", [None, ["9", "x"], "9.0", {"major": 9}])
def test_a_capability_that_is_none_is_not_guessed(capability: object) -> None:
    run = factory.run(factory.info(columns=GPU_COLUMNS[1:2]))
    changed = factory.changed(run, factory.facts_of_process(gpu={"compute_capability": capability}))
    (found,) = choose(evaluate(changed), Requirements(device="sm_90"))
    assert found.fit is Fit.UNKNOWN


def test_a_driver_that_nobody_recorded_is_not_the_one_asked_about() -> None:
    run = factory.run(factory.info(columns=GPU_COLUMNS[1:2]))
    bare = factory.changed(run, lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, gpu={})))
    (found,) = choose(evaluate(bare), Requirements(driver="550"))
    assert (found.fit, found.rank) == (Fit.UNKNOWN, None)
    assert found.unknowns[0].why == "measured under an unknown driver, not under 550"


KNOWN = (("conv2d", "convolutions"), ("scatter_nd", "segments"), ("seeded", "sequences"), ("matmul", "linalg"))


@pytest.mark.parametrize(
    ("given", "families", "globs"),
    [
        (["conv"], ("convolutions",), ()),
        (["se"], ("segments", "sequences"), ()),
        (["linalg", "conv"], ("convolutions", "linalg"), ()),
        (["scatter"], (), ("*scatter*",)),
        ([], (), ()),
    ],
)
def test_needs_are_families_or_words_of_kernels(
    given: list[str], families: tuple[str, ...], globs: tuple[str, ...]
) -> None:
    assert find_families(given, KNOWN) == (families, globs)


@pytest.mark.parametrize("given", ["convolution5", "", "*", "[a", "<b>"])
def test_a_need_that_nothing_is_named_is_an_error(given: str) -> None:
    if not given:  # the beginning of every name
        assert find_families([given], KNOWN)[0]
        return
    with pytest.raises(ConfigError, match="No family and no kernel") as raised:
        find_families([given], KNOWN)
    assert "convolutions" in f"{raised.value} {raised.value.hint}"


def test_what_is_asked_for_and_not_in_the_run_is_unknown() -> None:
    run = factory.info(kernels=(factory.kernel("matmul"), *factory.CONTROLS))
    found = evaluate(factory.run(run))
    suite = (("matmul", "linalg"), ("matmul_f16", "linalg"), ("conv2d", "convolutions"))
    question = Requirements(families=("linalg",), kernels=("conv*",), suite=suite)
    assert required_kernels(found.info, question).kernels == ("matmul",)
    assert required_kernels(found.info, question).absent == ("matmul_f16", "conv2d")
    (one,) = choose(found, question)
    assert (one.fit, one.reproducible, one.kernels) == (Fit.UNKNOWN, 1, 1)
    assert [name for name, _ in one.unknowns[0].kernels] == ["matmul_f16", "conv2d"]
    (whole,) = choose(found, Requirements(families=("linalg",), suite=suite[:1]))
    assert whole.fit is Fit.FITS
    assert required_kernels(found.info, Requirements(families=("data",))).absent == ("data",)


@pytest.mark.parametrize(
    ("glob", "words"),
    [
        ("matmull", "did you mean 'matmul'"),
        ("my_model", "'my_model'."),
        ("conv5*", "'conv5*'"),
        ("\x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_a_kernel_that_does_not_exist_is_an_error(glob: str, words: str) -> None:
    found = evaluate(factory.run())
    with pytest.raises(ConfigError, match="No kernel matches") as raised:
        choose(found, Requirements(kernels=("matmul", glob), suite=(("matmul_f16", "linalg"),)))
    assert words in str(raised.value)
    assert "--kernel-file" in raised.value.hint


def test_some_kernels_get_the_verdicts_that_they_get_among_all() -> None:
    run = factory.run(factory.info(columns=GPU_COLUMNS[:2]))
    whole, part = evaluate(run), evaluate(run, ["conv2d"])
    assert {one.kernel for one in part.verdicts if not one.control} == {"conv2d"}
    assert part.verdicts == tuple(one for one in whole.verdicts if one.control or one.kernel == "conv2d")
    assert choose(part, Requirements(kernels=("conv2d",))) == choose(whole, Requirements(kernels=("conv2d",)))


def test_controls_never_count() -> None:
    found = evaluate(factory.run())
    assert required_kernels(found.info, Requirements(kernels=("*",))).kernels == ("matmul", "conv2d")
    assert required_kernels(found.info, Requirements(families=("controls",))).kernels == ()
    assert choose(found, Requirements(families=("controls",)))[0].fit is Fit.UNKNOWN


def test_the_sample_ranks_the_same_whoever_asks() -> None:
    found = shipped_sample.results()
    ranks = {one.column: one.rank for one in choose(found)}
    assert {one.column: one.rank for one in choose(found)} == ranks
    assert len(ranks) == len(found.info.columns)
    data = {one.column: one for one in choose(found, Requirements(families=("sequences",)))}
    assert all(
        one.reproducible
        == one.kernels
        == len(required_kernels(found.info, Requirements(families=("sequences",))).kernels)
        for one in data.values()
    )


def test_no_question_changes_a_results(mixed: RunResults) -> None:
    before: Mapping[str, Any] = dict(vars(dataclasses.replace(mixed)))
    choose(mixed, Requirements(device="sm_90", max_overhead=1.1))
    assert {key: before[key] for key in ("info", "verdicts", "overheads")} == {
        key: getattr(mixed, key) for key in ("info", "verdicts", "overheads")
    }
