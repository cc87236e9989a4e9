"""``bisect``: find the first environment, between two of matrix.toml, in which the result of a kernel changed.

Each environment is one run of one column with only this kernel, in a reports folder of its own. A finished run of the
same measurement is used again, so the same command continues after an interrupt.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors, host, verdict
from bench.cli import options as shared
from bench.cli import reproduce
from bench.cli.bisection import Halving, Question, candidates, halve, is_usable, label
from bench.cli.command import Command
from bench.cli.compare import gates
from bench.cli.matrix import choose_engine, run_plan
from bench.cli.planning import LOCKS, Inputs, kernel_sources, print_columns, require_checkout, warn
from bench.gpu import facts
from bench.plan import column_selection, config, planner
from bench.plan.config_models import DEFAULT_VARIATION
from bench.plan.planner import Selection
from bench.plan.variations import refuse_unknown
from bench.report.build.reproduce import ReproduceSpec
from bench.store import find_run
from bench.store import run as store
from bench.suggest import nearest
from bench.suite.suite_hash import ROOT, suite_hash
from bench.verdict.comparison import Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.cli.matrix import Chosen
    from bench.plan.column import Column, Pair
    from bench.plan.config_models import Matrix
    from bench.plan.custom_kernels import Suite
    from bench.plan.planner import Plan
    from bench.store.run_info import RunInfo
    from bench.verdict.results import RunResults

#: The name of the profile that ``bisect`` makes, as its pages show it.
PROFILE = "bisect"
QUESTIONS = ("bits", "reproducible", "slower", "error")
#: The measurement of every environment. Timing pairs are for the question ``slower`` only.
SEED, ROUNDS, REPETITIONS, HEAVY_REPETITIONS, PAIRS = 42, 5, 5, 2, 10
#: Facts of a host that a run must share to be used again, as in the resume keys of the runner.
_HOST = ("name", "system", "cpu", "cores", "gpu")
#: What to do about a wrong name.
_LISTS = "python -m bench plan --profile nightly lists environments."


class Environments:
    """Measures columns, or takes what an earlier call of the command has measured."""

    def __init__(self, options: argparse.Namespace, inputs: Inputs, suite: Suite, chosen: Chosen) -> None:
        self._options, self._inputs, self._suite, self.chosen = options, inputs, suite, chosen
        self._earlier = [] if options.no_resume else list(_finished(options.reports))
        self._results: dict[tuple[str, ...], RunResults] = {}

    def results(self, *columns: Column) -> RunResults:
        """Return the evaluated run of these columns."""
        key = tuple(column.id for column in columns)
        if key not in self._results:
            plan = self.plan(columns)
            found = self._used(plan)
            if found is None:
                found = verdict.evaluate(store.load(run_plan(plan, self._options, self.chosen)))
            self._results[key] = found
        return self._results[key]

    def cost(self, *columns: Column) -> int:
        """Return 0 where everything has been measured, 1 where only the environment is there, else 2."""
        if any(self._fits(info, self.plan(columns)) for _, info in self._earlier):
            return 0
        return 1 if all(map(self.chosen[0].cached, columns)) else 2

    def plan(self, columns: Sequence[Column]) -> Plan:
        """Return the plan of the run that measures these columns."""
        selection = dataclasses.replace(
            self._inputs.selection, only=tuple(dict.fromkeys(column.pair.stem for column in columns))
        )
        return planner.make(self._inputs.matrix, PROFILE, selection, LOCKS, self._suite, self._inputs.devices)

    def _used(self, plan: Plan) -> RunResults | None:
        """Return the newest finished run of the same plan with the same code of the kernel."""
        name = self._options.kernel
        code = self._suite.kernels[name].source_hash()
        for folder, info in self._earlier:
            if not self._fits(info, plan):
                continue
            results = verdict.evaluate(store.load(folder))
            sides = [Side(results=results, column=column.id) for column in info.columns]
            hashes = [side.codes(variation, mode).get(name, "") for side in sides
                      for variation, modes in plan.variation_modes.items() for mode in modes]  # fmt: skip
            if all(found and code.startswith(found) for found in hashes):
                labels = " and ".join(label(column.id) for column in info.columns)
                print(f"{labels}: run {folder.name} is used, which measured the same", file=sys.stderr)
                return results
        return None

    def _fits(self, info: RunInfo, plan: Plan) -> bool:
        """Whether a run measured what a plan would, on this host and with this suite."""
        engine = self.chosen[0]
        here = {**host.facts(plan.devices.survey), **engine.host()}
        return (
            (info.engine, info.suite_hash) == (engine.name, suite_hash(ROOT))
            and all(getattr(info, name) == value for name, value in plan.facts().items())
            and [kernel.name for kernel in info.kernels] == [kernel.name for kernel in plan.kernels]
            and [(column.id, column.gpu, column.lock_hash, column.status) for column in info.columns]
            == [(column.id, column.gpu, column.lock_hash(), "ready") for column in plan.columns]
            and all(info.host.get(name) == here.get(name) for name in _HOST)
        )


def _finished(reports: Path) -> Iterator[tuple[Path, RunInfo]]:
    """Yield the finished runs of a reports folder that can be read, the newest first."""
    for folder in reversed(find_run.every(reports)):
        try:
            info = store.read_info(folder)
        except errors.StorageError:
            continue
        if info.finished and info.profile == PROFILE:
            yield folder, info


def bisect(options: argparse.Namespace) -> int:
    """Find the step from one environment to the next at which a kernel's result changed, and print it.

    Raises:
        ConfigError: an unknown environment, kernel or variation, or two environments without a row between them.
        NothingError: nothing changed, or the first or last environment gives no answer.
    """
    require_checkout()
    inputs, row, left_out = _select(options)
    for column in left_out:
        print(f"{label(column.id)} is left out: {column.reason}", file=sys.stderr)
    word, _, _ = options.question.partition(":")
    suite, chosen = _suite(options, inputs, row)
    warn(suite.errors.values())
    environments = Environments(options, inputs, suite, chosen)
    if options.dry_run:
        print_columns(row, chosen[0])
        done = [label(column.id) for column in row if not environments.cost(*_together(word, row[0], column))]
        print(f"measured before: {', '.join(done) or 'none'}")
        most = 2 + (len(row) - 2).bit_length() - (word == "slower")
        print(f"would take at most {most} runs if every environment can be measured")
        return errors.OK
    question = Question(
        word=word, factor=_factor(options.question), kernel=options.kernel, variation=options.variation,
        mode=options.mode,
    )  # fmt: skip
    _Search(question, row, environments).run(options.reports)
    return errors.OK


def _select(options: argparse.Namespace) -> tuple[Inputs, list[Column], list[Column]]:
    """Return what every run shares, the columns from FROM to TO, and those left out."""
    matrix = config.load(options.matrix)
    refuse_unknown((options.variation,), matrix.variations)
    if options.question.startswith("slower") and options.variation != DEFAULT_VARIATION:
        raise errors.ConfigError("Only the default variation is timed.", "Leave out --variation or ask for the bits.")
    first, last = (_pair(matrix, text) for text in (options.first, options.last))
    named = {text.partition("@")[2] for text in (options.first, options.last)} - {""}
    if first.stem == last.stem or (first.cuda == "cpu") != (last.cuda == "cpu") or len(named) > 1:
        message = f"{options.first} and {options.last} must be two different environments for the same device."
        raise errors.ConfigError(message, _LISTS)
    device = next(iter(named), "cpu" if first.cuda == "cpu" else "gpu")
    devices = reproduce.devices_of(device, facts.survey())
    if device not in {"cpu", "gpu"} and not any(reproduce.is_device(device, gpu) for gpu in devices.gpus):
        raise errors.NoGpuError(f"This host has no GPU {device}.", "Leave out @ and the device to use the one here.")
    matrix = _pinned(matrix, options)
    selection = Selection(kernels=(options.kernel,), modes=(options.mode,))
    stems = [known.pair.stem for known in column_selection.listed(matrix)
             if (known.pair.cuda == "cpu") == (first.cuda == "cpu")]  # fmt: skip
    columns, _ = column_selection.columns(matrix, PROFILE, tuple(stems), LOCKS, devices)
    by_stem = {column.pair.stem: column for column in columns}
    for column in (by_stem[first.stem], by_stem[last.stem]):
        if not is_usable(column):
            raise errors.NothingError(f"{label(column.id)} cannot be measured: {column.reason}.")
    row, left_out = candidates(columns, by_stem[first.stem], by_stem[last.stem])
    inputs = Inputs(
        matrix=matrix, profile=PROFILE, selection=selection, devices=devices, sources=kernel_sources(matrix, options)
    )
    return inputs, row, left_out


def _pair(matrix: Matrix, text: str) -> Pair:
    """Return the pair that a text names; raises ConfigError where there is none, or more than one."""
    name = text.partition("@")[0]
    pairs = [known.pair for known in column_selection.listed(matrix)]
    found = [pair for pair in pairs if name in {pair.id, pair.stem}]
    if len(found) > 1:
        raise errors.ConfigError(f"{text!r} names more than one pair.", f"Name {' or '.join(p.stem for p in found)}.")
    if not found:
        near = nearest(name, [name for pair in pairs for name in (pair.id, pair.stem)])
        hint = f"Did you mean {near!r}?" if near else _LISTS
        raise errors.ConfigError(f"matrix.toml has no pair {text!r}.", hint)
    return found[0]


def _pinned(matrix: Matrix, options: argparse.Namespace) -> Matrix:
    """Return the matrix with the profile of every run, whatever its own profiles and overrides say."""
    spec = ReproduceSpec(seed=SEED, rounds=ROUNDS, repetitions=REPETITIONS, lock="", code="")
    made = reproduce.pinned(matrix, spec, options.variation)
    profile = made.profiles[reproduce.PROFILE].model_copy(
        update={
            "heavy_repetitions": HEAVY_REPETITIONS,
            "overhead_pairs": 0,
            "upgrade_pairs": PAIRS if options.question.startswith("slower") else 0,
        }
    )
    return made.model_copy(update={"profiles": {**matrix.profiles, PROFILE: profile}})


def _suite(options: argparse.Namespace, inputs: Inputs, row: list[Column]) -> tuple[Suite, Chosen]:
    """Return the suite and the engine; raises ConfigError where the suite does not have the kernel."""
    suite, chosen = reproduce.suite_with_kernel(inputs, lambda: row, options)
    if suite.kernels[options.kernel].control:
        message = f"The suite here has no kernel {options.kernel!r} to ask about: it is a control."
        raise errors.ConfigError(message, "python -m bench kernels lists all kernels.")
    return suite, chosen or choose_engine(options)


def _together(word: str, first: Column, column: Column) -> tuple[Column, ...]:
    """Return the columns of one run: times are compared within a run, bits between two."""
    return (first, column) if word == "slower" else (column,)


class _Search:
    """Asks the question of one environment after the other, and says what was seen."""

    def __init__(self, question: Question, row: list[Column], environments: Environments) -> None:
        self._question, self._row, self._environments = question, row, environments
        self._seen: dict[int, str] = {}

    def run(self, reports: Path) -> None:
        """Ask about both ends, then halve, and print the answer; raises NothingError where the ends do not differ."""
        first, last = self._row[0], self._row[-1]
        if self._question.word != "slower":
            differs, text = self._question.of_one(self._side(first, first))
            print(f"{label(first.id)}: {text}", file=sys.stderr)
            if differs is not False:
                other = "Ask with --question reproducible" if self._question.word == "bits" else "Swap FROM and TO"
                hint = f"{other} to find where this changes." if differs else ""
                raise errors.NothingError(f"{label(first.id)} cannot be the start: {text}.", hint)
        changed = self.ask(len(self._row) - 1)
        text = self._seen[len(self._row) - 1]
        if not changed:
            word = "gives no answer" if changed is None else "is not changed"
            raise errors.NothingError(f"{label(last.id)} {word}: {text}.")
        self.report(len(self._row) - 1, Halving(low=0, high=len(self._row) - 1))
        state = halve(len(self._row), self.ask, self.cost, self.report)
        print(self.answer(state, reports))

    def ask(self, place: int) -> bool | None:
        """Whether the environment at a place is changed, None if it cannot be built or gives no answer."""
        first, column = self._row[0], self._row[place]
        after = self._side(column, column)
        before = self._side(first, column if self._question.word == "slower" else first)
        changed, self._seen[place] = self._question.of(before, after)
        return changed

    def cost(self, place: int) -> int:
        """Return what it costs to ask, as ``Environments.cost``."""
        return self._environments.cost(*_together(self._question.word, self._row[0], self._row[place]))

    def report(self, place: int, state: Halving) -> None:
        """Print what was seen and how much is left."""
        left = len(state.open)
        steps = left.bit_length()
        rest = f"{left} environment{'s' * (left != 1)} left"
        rest += f", about {steps} step{'s' * (steps != 1)}" if left else ""
        skipped = "cannot be decided: " if place in state.undecided else ""
        print(f"{label(self._row[place].id)}: {skipped}{self._seen[place]}; {rest}", file=sys.stderr)

    def answer(self, state: Halving, reports: Path) -> str:
        """Return the step or range, and the command that compares its ends."""
        low, high = self._row[state.low], self._row[state.high]
        word = "between" if state.between else "from"
        join = "and" if state.between else "to"
        lines = [f"changed {word} {label(low.id)} {join} {label(high.id)}: {self._seen[state.high]}"]
        lines += [
            f"{label(self._row[place].id)} could not be decided because: {self._seen[place]}" for place in state.between
        ]
        if self._question.word == "slower":  # the step itself was not timed in pairs
            low = self._row[0]
        sides = [self._side(low, high if self._question.word == "slower" else low), self._side(high, high)]
        words = [f"{side.results.info.id}:{side.column}" for side in sides]
        where = ["--reports", str(reports), "--kernels", self._question.kernel, "--mode", self._question.mode]
        return "\n".join([*lines, shlex.join(["nox", "-s", "compare", "--", *words, *where])])

    def _side(self, column: Column, measured: Column) -> Side:
        """Return a column as the run that measured another one saw it."""
        columns = _together(self._question.word, self._row[0], measured)
        return Side(results=self._environments.results(*columns), column=column.id)


def _question(text: str) -> str:
    """Check ``--question``; raises ArgumentTypeError."""
    word, separator, _ = text.partition(":")
    if word not in QUESTIONS or (separator and word != "slower") or "," in text:
        message = f"unknown question {text!r}; choose from bits, reproducible, slower:1.10, error"
        raise argparse.ArgumentTypeError(message)
    _factor(text)
    return text


def _factor(text: str) -> float:
    """Return the factor of ``slower:1.10``, 1 for other questions."""
    return gates(text)["slower"] if text.startswith("slower") else 1.0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("kernel", metavar="KERNEL", help="a kernel")
    add("first", metavar="FROM", help="a pair of matrix.toml, or the id of a column: tf2.15.1-cuda12.2")
    add("last", metavar="TO", help="another one on the same device")
    add(
        "--question", type=_question, default="bits", metavar="QUESTION",
        help="what counts as changed: bits (default), reproducible (no longer), slower:1.10, or error",
    )  # fmt: skip
    add("--mode", choices=["on", "off"], default="on", help="determinism on or off (default: on)")
    add("--variation", default=DEFAULT_VARIATION, metavar="NAME", help="the variation (default: default)")
    add("--no-resume", action="store_true", help="measure everything again, even what an earlier call measured")
    add("--dry-run", action="store_true", help="print the environments in their order, and measure nothing")
    shared.add_engine(parser)
    shared.add_root_kernels(parser)
    shared.add_matrix_file(parser)
    shared.add_kernel_file(parser)
    shared.add_registry(parser)
    text = "folder for the runs (default: reports/bisect)"
    add("--reports", type=Path, default=Path("reports/bisect"), metavar="DIR", help=text)


COMMAND = Command(
    name="bisect",
    summary="Find the first environment between two in which the result of a kernel changed.",
    details="Searches the environments of matrix.toml from FROM to TO by bisection. One that cannot be built or "
    "evaluated is skipped. If a result changes more than once, one of the steps is found. Run the same command "
    "again to continue. Exit code 3: nothing changed.",
    example="nox -s bisect -- matmul_f32 tf2.15.1-cpu tf2.21.0-cpu",
    add_arguments=_add_arguments,
    run=bisect,
)
