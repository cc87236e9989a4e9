"""``choose``: rank the pairs for a GPU and some kernels, with evidence, overhead and what is unknown.

Columns of a run are ranked by their results. Environments of matrix.toml that the run does not have are checked against
the preflight rules for the requested device, and listed as not measured.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from typing import TYPE_CHECKING

from bench import errors, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.gpu import facts
from bench.gpu.facts import Gpu
from bench.plan import column_selection, config, custom_kernels, gpu_models, preflight
from bench.report.build.ranking import Unmeasured, choice
from bench.report.commands import choose as choose_report
from bench.report.formatting import clean
from bench.report.text.layout import supports_colour
from bench.store import find_run, run_info
from bench.store import run as store
from bench.suite.record import SCHEMA
from bench.verdict.ranking import Kind, choose
from bench.verdict.requirements import (
    ARCHITECTURE,
    Requirements,
    architectures,
    drivers,
    find_families,
    is_same_gpu,
    required_kernels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.plan.column import Pair
    from bench.verdict.ranking import Candidate
    from bench.verdict.results import RunResults

#: More candidates than any matrix has.
_ALL = 10_000
#: The newest driver of a branch that is asked for by its first number.
_NEWEST = ".999.999"
_PART = len(".999")


def choosing(options: argparse.Namespace) -> int:
    """``choose``: rank the pairs for the kernels you need on your GPU, with evidence, overhead and unknowns."""
    run = loaded(options)
    suite = [(one.name, one.family) for one in custom_kernels.suite([]).kernels.values() if not one.control]
    here = [(one.name, one.family) for one in run.info.kernels if not one.control]
    device = device_asked(options.gpu) if options.gpu else _own_device(run.info)
    if options.driver and device == "cpu":
        raise errors.ConfigError("A driver says nothing about a CPU.", "Name a GPU: --gpu sm_90 --driver 550")
    families, globs = find_families(options.families, (*here, *suite))
    question = Requirements(
        device=device,
        driver=options.driver or "",
        families=families,
        kernels=(*globs, *options.kernels),
        variations=tuple(options.variation or ()),
        max_overhead=options.max_overhead,
        suite=tuple(suite) if options.families or options.kernels else (),
    )
    results = verdict.evaluate(run, required_kernels(run.info, question).kernels)
    found = choose(results, question)
    answer = choice(results, question, _others(options.matrix, results, question, found), _ALL)
    print(f"run {clean(results.info.id) or 'none, there is no record'}", file=sys.stderr)
    if options.format == "json":
        print(choose_report.as_json(answer, found, results.info.id), end="")
    elif options.format == "markdown":
        print(choose_report.markdown(answer), end="")
    else:
        width, colour = shutil.get_terminal_size((80, 24)).columns, supports_colour(sys.stdout)
        print(choose_report.text(answer, found, width, colour=colour), end="")
    if all(one.rank is None for one in found):
        raise errors.NothingError(
            "Nothing was measured for this question, so nothing is known to fit.",
            "The answer above says what could run, and how to measure it.",
        )
    return errors.OK if any(one.fit is verdict.Fit.FITS for one in found) else errors.GATE


def device_asked(text: str) -> str:
    """``sm_90``, ``9.0`` or a name: as ``Requirements.device`` has it.

    Raises:
        ConfigError: what names no GPU.
    """
    low = text.strip().lower()
    if low == "cpu":
        return low
    number = re.fullmatch(r"sm_?(\d{1,2})(\d)[af]?|(\d{1,2})\.(\d)", low)
    if number:
        return ARCHITECTURE + "".join(part for part in number.groups() if part)
    slug = Gpu(uuid="", name=text, capability=(0, 0), memory_mb=0).slug
    if not re.search(r"\d", slug):
        raise errors.ConfigError(f"{text!r} names no device.", "Give sm_90, h100, or another name of a GPU, or cpu.")
    return slug


def loaded(options: argparse.Namespace) -> store.Run:
    """The run that is asked; without any run, one without columns."""
    if options.run_folder or find_run.every(options.reports):
        return store.load(find_run.chosen(options.reports, options.run_folder))
    empty = run_info.RunInfo(
        schema=SCHEMA, id="", started="", finished="", version="", revision="", command="", profile="standard",
        rounds=0, repetitions=0, seed=0, modes=(), variations={}, variation_modes={}, engine="", engine_why="",
        engine_facts={}, host={}, suite_hash="", columns=(), kernels=(),
    )  # fmt: skip
    return store.Run(info=empty, records={})


def _own_device(info: run_info.RunInfo) -> str:
    """The device of the run if it has one only, and of this host if there is no run."""
    devices = {column.device for column in info.columns}
    if not devices:
        gpus = facts.survey().gpus
        return gpus[0].slug if gpus else "cpu"
    return devices.pop() if len(devices) == 1 else ""


def _others(
    matrix: Path, results: RunResults, question: Requirements, found: Sequence[Candidate]
) -> tuple[Unmeasured, ...]:
    """Pairs of the file without a column for this device, as the preflight sees them there."""
    if not question.device:  # several devices in one run: each pair stands on its own
        return ()
    here = {
        one.column.partition("@")[0]
        for one in found
        if all(concern.kind is not Kind.ELSEWHERE for concern in one.unknowns)
    }
    given = config.load(matrix)
    pairs = [one.pair for one in column_selection.listed(given) if column_selection.included(given, one.pair)]
    pairs = [one for one in pairs if (one.cuda == "cpu") == (question.device == "cpu") and one.stem not in here]
    return tuple(_advised(results, question, pairs))


def _advised(results: RunResults, question: Requirements, pairs: Sequence[Pair]) -> Iterator[Unmeasured]:
    capability, driver = _hypothetical(results, question)
    gpu = Gpu(uuid="", name=question.device, capability=capability, memory_mb=0)
    for pair in pairs:
        if pair.refused:
            yield Unmeasured(pair=pair.stem, told=pair.refused, blocked=True)
        elif pair.cuda == "cpu":
            yield Unmeasured(pair=pair.stem)
        else:
            low = preflight.advise(pair, gpu, driver)
            newest = _NEWEST[: len(_NEWEST) - _PART * driver.count(".")]
            high = preflight.advise(pair, gpu, f"{driver}{newest}") if driver and newest else low
            told = high.text.replace(newest, "") if newest else high.text
            if told != low.text:  # a branch of drivers, and not all of them do
                told = f"{told}; with the first drivers of {driver}: {low.text}"
            names = tuple(rule.id for rule in (low if high.level == "blocked" else high).rules)
            yield Unmeasured(pair=pair.stem, told=told, rules=names, blocked=high.level == "blocked")


def _hypothetical(results: RunResults, question: Requirements) -> tuple[tuple[int, int], str]:
    """Compute capability and driver of the device asked about: as asked, as the run's records have it, or as known."""
    seen = [column for column in results.info.columns if is_same_gpu(column.device, question.device)]
    named = [question.device] if question.device.startswith(ARCHITECTURE) else []
    digits = next((one.removeprefix(ARCHITECTURE) for one in (*named, *architectures(results, seen))), "")
    capability = (int(digits[:-1]), int(digits[-1])) if digits else gpu_models.capability(question.device)
    return capability, question.driver or next(iter(drivers(results, seen)), "")


def _driver(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}(\.\d{1,4}){0,2}", text):
        message = f"invalid driver version {text!r}: give 550 or 550.54.15"
        raise argparse.ArgumentTypeError(message)
    return text


def _overhead(text: str) -> float:
    """A ratio of times, determinism on to off, from ``1.15`` or ``15%``."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4})?", number) or not (percent or float(number)):
        message = f"invalid overhead {text!r}: give a ratio of times on to off, such as 1.15, or a percentage: 15%"
        raise argparse.ArgumentTypeError(message)
    return round(1 + float(number) / 100, 6) if percent else float(number)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("requirements")
    add = group.add_argument
    text = "a compute capability (sm_90, 9.0), a model (h100), or cpu (default: the device of the run)"
    add("--gpu", default="", metavar="DEVICE", help=text)
    add("--driver", type=_driver, metavar="VERSION", help="its driver or driver branch: 550.54.15, 550")
    text = "kernel families, or words in the names of kernels: conv,scatter (default: all)"
    add("--families", type=shared.patterns, default=(), metavar="NAMES", help=text)
    add("--kernels", type=shared.patterns, default=(), metavar="PATTERNS", help="kernels: 'matmul*,my_model'")
    text = "variations that must be reproducible too, besides the default one: threads=1,isa=avx2"
    add("--variation", type=shared.patterns, default=(), metavar="NAMES", help=text)
    text = "the most that determinism may cost each kernel: 1.15, or 15%%"
    add("--max-overhead", type=_overhead, metavar="RATIO", help=text)
    shared.add_run(parser)
    shared.add_reports(parser)
    shared.add_matrix_file(parser)
    formats = ["terminal", "markdown", "json"]
    parser.add_argument("--format", choices=formats, default="terminal", help="output format (default: terminal)")


CHOOSE = Command(
    name="choose",
    summary="Rank the pairs for a GPU and the kernels you need, with evidence, overhead and what is unknown.",
    details="Exit code 0: a pair fits; 1: none does; 3: nothing was measured for it.",
    example="nox -s choose -- --run reports/sample --families conv,scatter --max-overhead 1.15",
    add_arguments=_add_arguments,
    run=choosing,
)
