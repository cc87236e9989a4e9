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
from bench.verdict.ranking import ConcernKind, choose
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

#: Candidates to show: more than any matrix has.
_ALL = 10_000
#: Completes a driver branch such as ``550`` to its newest possible version.
_NEWEST = ".999.999"
_PART = len(".999")


def choosing(options: argparse.Namespace) -> int:
    """Rank the pairs for the device and the kernels that the options name, and print the answer."""
    run = loaded(options)
    suite = [(kernel.name, kernel.family) for kernel in custom_kernels.suite([]).kernels.values() if not kernel.control]
    measured = [(kernel.name, kernel.family) for kernel in run.info.kernels if not kernel.control]
    device = requested_device(options.gpu, run.info) if options.gpu else _default_device(run.info)
    if options.driver and device == "cpu":
        raise errors.ConfigError("--driver requires a GPU.", "Name a GPU: --gpu sm_90 --driver 550")
    families, patterns = find_families(options.families, (*measured, *suite))
    requirements = Requirements(
        device=device,
        driver=options.driver or "",
        families=families,
        kernels=(*patterns, *options.kernels),
        variations=options.variation,
        max_overhead=options.max_overhead,
        suite=tuple(suite) if options.families or options.kernels else (),
    )
    results = verdict.evaluate(run, required_kernels(run.info, requirements).kernels)
    candidates = choose(results, requirements)
    answer = choice(results, requirements, _unmeasured(options.matrix, results, requirements, candidates), _ALL)
    print(f"run {clean(results.info.id) or 'none: there is no run to answer from'}", file=sys.stderr)
    if options.format == "json":
        print(choose_report.as_json(answer, candidates, results.info.id), end="")
    elif options.format == "markdown":
        print(choose_report.markdown(answer), end="")
    else:
        width, colour = shutil.get_terminal_size((80, 24)).columns, supports_colour(sys.stdout)
        print(choose_report.text(answer, candidates, width, colour=colour), end="")
    if all(candidate.rank is None for candidate in candidates):
        raise errors.NothingError(
            "Nothing was measured for this question, so nothing is known to fit.",
            "The answer above says what could run, and how to measure it.",
        )
    return errors.OK if any(candidate.fit is verdict.Fit.FITS for candidate in candidates) else errors.GATE


def requested_device(text: str, info: run_info.RunInfo | None = None) -> str:
    """Return the device that ``--gpu`` names (``cpu``, ``sm_90``, ``9.0`` or a GPU), as ``Requirements.device`` has it.

    A GPU must be in NVIDIA's list or in the run: without a compute capability the preflight rules would be skipped.

    Raises:
        ConfigError: the name is not known.
    """
    name = text.strip().lower()
    if name == "cpu":
        return name
    number = re.fullmatch(r"sm_?(\d{1,2})(\d)[af]?|(\d{1,2})\.(\d)", name)
    if number:
        return ARCHITECTURE + "".join(part for part in number.groups() if part)
    listed = gpu_models.short_name(text)
    if listed:
        return listed
    slug = Gpu(uuid="", name=text, capability=(0, 0), memory_mb=0).slug
    if info is not None and any(is_same_gpu(column.device, slug) for column in info.columns):
        return slug
    similar = [repr(model) for model in gpu_models.suggestions(text)]
    guess = f"; did you mean {' or '.join(similar)}?" if similar else "."
    raise errors.ConfigError(
        f"Unknown GPU {text!r}{guess}",
        "Give its compute capability instead, such as --gpu sm_90; "
        "nvidia-smi --query-gpu=compute_cap --format=csv shows it.",
    )


def loaded(options: argparse.Namespace) -> store.Run:
    """Return the run that the options name, the newest one, or an empty run if there is none."""
    if options.run_folder or find_run.every(options.reports):
        return store.load(find_run.chosen(options.reports, options.run_folder))
    empty = run_info.RunInfo(
        schema=SCHEMA, id="", started="", finished="", version="", revision="", command="", profile="standard",
        rounds=0, repetitions=0, seed=0, modes=(), variations={}, variation_modes={}, engine="", engine_why="",
        engine_facts={}, host={}, suite_hash="", columns=(), kernels=(),
    )  # fmt: skip
    return store.Run(info=empty, records={})


def _default_device(info: run_info.RunInfo) -> str:
    """Return the device of the run, "" if it has several, or the device of this host if there is no run."""
    devices = {column.device for column in info.columns}
    if not devices:
        gpus = facts.survey().gpus
        return gpus[0].slug if gpus else "cpu"
    return devices.pop() if len(devices) == 1 else ""


def _unmeasured(
    matrix: Path, results: RunResults, requirements: Requirements, candidates: Sequence[Candidate]
) -> tuple[Unmeasured, ...]:
    """Return the pairs of matrix.toml without a column for this device, each with what the preflight rules say."""
    if not requirements.device:  # a run with several devices: there is no single device to check the others for
        return ()
    measured = {
        candidate.column.partition("@")[0]
        for candidate in candidates
        if all(concern.kind is not ConcernKind.ELSEWHERE for concern in candidate.unknowns)
    }
    configuration = config.load(matrix)
    pairs = [
        listed.pair
        for listed in column_selection.listed(configuration)
        if column_selection.included(configuration, listed.pair)
    ]
    on_cpu = requirements.device == "cpu"
    missing = [pair for pair in pairs if (pair.cuda == "cpu") == on_cpu and pair.stem not in measured]
    return tuple(_checked(results, requirements, missing))


def _checked(results: RunResults, requirements: Requirements, pairs: Sequence[Pair]) -> Iterator[Unmeasured]:
    capability, driver = _target(results, requirements)
    gpu = Gpu(uuid="", name=requirements.device, capability=capability, memory_mb=0)
    for pair in pairs:
        if pair.refused:
            yield Unmeasured(pair=pair.stem, advice=pair.refused, blocked=True)
        elif pair.cuda == "cpu":
            yield Unmeasured(pair=pair.stem)
        else:
            yield _advice(pair, gpu, driver)


def _advice(pair: Pair, gpu: Gpu, driver: str) -> Unmeasured:
    """Apply the preflight rules to a pair; a driver branch is blocked only if its newest driver is."""
    oldest = preflight.advise(pair, gpu, driver)
    completion = _NEWEST[: len(_NEWEST) - _PART * driver.count(".")]
    newest = preflight.advise(pair, gpu, f"{driver}{completion}") if driver and completion else oldest
    text = newest.text.replace(completion, "") if completion else newest.text
    if text != oldest.text:
        text = f"{text}; with the first drivers of {driver}: {oldest.text}"
    rules = tuple(rule.id for rule in (oldest if newest.level == "blocked" else newest).rules)
    return Unmeasured(pair=pair.stem, advice=text, rules=rules, blocked=newest.level == "blocked")


def _capability(device: str) -> tuple[int, int]:
    """Return the compute capability of a GPU by name: from NVIDIA's list, or from this host; (0, 0) if unknown."""
    listed = gpu_models.compute_capability(device)
    return listed or next((gpu.capability for gpu in facts.survey().gpus if gpu.slug == device), (0, 0))


def _target(results: RunResults, requirements: Requirements) -> tuple[tuple[int, int], str]:
    """Return compute capability and driver of the requested device: as requested, from the run's records, or known."""
    device = requirements.device
    columns = [column for column in results.info.columns if is_same_gpu(column.device, device)]
    requested = [device] if device.startswith(ARCHITECTURE) else []
    names = (*requested, *architectures(results, columns))
    digits = next((name.removeprefix(ARCHITECTURE) for name in names), "")
    capability = (int(digits[:-1]), int(digits[-1])) if digits else _capability(device)
    return capability, requirements.driver or next(iter(drivers(results, columns)), "")


def _driver(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}(\.\d{1,4}){0,2}", text):
        message = f"invalid driver version {text!r}: give 550 or 550.54.15"
        raise argparse.ArgumentTypeError(message)
    return text


def _overhead(text: str) -> float:
    """Parse a ratio of times, determinism on to off, of at least 1: ``1.15`` or ``15%``."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4})?", number) or not (percent or float(number) >= 1):
        message = f"invalid overhead {text!r}: give a ratio of times on to off, such as 1.15, or a percentage: 15%"
        raise argparse.ArgumentTypeError(message)
    return round(1 + float(number) / 100, 6) if percent else float(number)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("requirements")
    add = group.add_argument
    text = "a compute capability (sm_90, 9.0), a model (h100), or cpu (default: the device of the run)"
    add("--gpu", default="", metavar="DEVICE", help=text)
    add("--driver", type=_driver, metavar="VERSION", help="version or branch of the driver of the GPU: 550.54.15, 550")
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


COMMAND = Command(
    name="choose",
    summary="Rank the pairs for a GPU and the kernels you need, with evidence, overhead and what is unknown.",
    details="Exit code 0: a pair fits; 1: none does; 3: nothing was measured for it.",
    example="nox -s choose -- --run reports/sample --families conv,scatter --max-overhead 1.15",
    add_arguments=_add_arguments,
    run=choosing,
)
