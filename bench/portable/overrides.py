"""Options of the offline host that change a bundle's plan: kernels, variations, rounds and repetitions."""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from bench.portable.errors import NOTHING, PortableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.portable.paired_timing import PairPlan
    from bench.suite.record import Request

_MAX_COUNT = 1000


@dataclass(frozen=True)
class Overrides:
    """Kernel patterns, names of variations, rounds and repetitions; what is empty or None stays as planned.

    ``repetitions`` apply to every kernel and variation, heavy kernels included.
    """

    kernels: tuple[str, ...] = ()
    variations: tuple[str, ...] = ()
    rounds: int | None = None
    repetitions: int | None = None

    @property
    def command_line(self) -> str:
        """The same as options of a command line, with a space before each; "" where nothing is overridden."""
        options = {
            "--kernels": ",".join(self.kernels),
            "--variation": ",".join(self.variations),
            "--rounds": self.rounds,
            "--repetitions": self.repetitions,
        }
        return "".join(f" {name} {value}" for name, value in options.items() if value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``from_options`` reads."""
    add = parser.add_argument
    add("--kernels", type=names, default=(), metavar="PATTERNS", help="kernels: 'matmul*,reduce*'; controls always run")
    add("--variation", type=names, default=(), metavar="NAMES", help="only these variations of the profile: tf32=off")
    add("--rounds", type=positive, metavar="N", help="fresh processes per mode, instead of the profile's")
    add("--repetitions", type=positive, metavar="N", help="repetitions per process, of heavy kernels too")


def host_name(text: str) -> str:
    """Parse the name of a host in the ids of its columns ("": none). Raises ArgumentTypeError where it is invalid."""
    if not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?)?", text):
        message = f"{text!r} is not the name of a host: use letters, digits, dots and hyphens"
        raise argparse.ArgumentTypeError(message)
    return text


def positive(text: str) -> int:
    """Parse a count; raises ArgumentTypeError outside the range that matrix.toml allows."""
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_COUNT:
        message = f"{text!r} is not a number from 1 to {_MAX_COUNT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def from_options(options: argparse.Namespace) -> Overrides:
    """Return the overrides that were given on the command line."""
    return Overrides(options.kernels, options.variation, options.rounds, options.repetitions)


def apply(run: dict[str, Any], requests: list[Request], overrides: Overrides) -> tuple[dict[str, Any], list[Request]]:
    """Return run.json and the rounds of a plan with the overrides applied.

    Raises PortableError for a name that the plan does not have, and where only controls would be left.
    """
    if overrides == Overrides():
        return run, requests
    _check_names(overrides.variations, run["variations"], "variation")
    for glob in overrides.kernels:
        _check_names([] if _matching(run, (glob,)) else [glob], [kernel["name"] for kernel in run["kernels"]], "kernel")
    controls = {kernel["name"] for kernel in run["kernels"] if kernel["control"]}
    selected = _matching(run, overrides.kernels or ("*",)) | controls
    variations = _variations(run, overrides.variations, selected, controls)
    remaining = [
        _with_kernels(request, selected, overrides.repetitions)
        for request in requests
        if request.variation in variations
    ]
    if not any(set(request.kernels) - controls for request in remaining):
        hint = "Select more with --kernels or --variation."
        raise PortableError("The selection leaves no kernel to run.", hint, NOTHING)
    run = {
        **run,
        "command": run["command"] + overrides.command_line,
        "rounds": overrides.rounds or run["rounds"],
        "repetitions": overrides.repetitions or run["repetitions"],
        "variations": variations,
        "variation_modes": {name: run["variation_modes"][name] for name in variations},
        "kernels": [kernel for kernel in run["kernels"] if kernel["name"] in selected],
    }
    remaining = _with_second_seed(remaining)
    return run, _with_rounds(remaining, overrides.rounds) if overrides.rounds else remaining


def apply_to_pairs(run: dict[str, Any], pairs: list[PairPlan], overrides: Overrides) -> list[PairPlan]:
    """Return the timing pairs of a plan; ``run`` is run.json with the same overrides applied.

    There are none where the default variation, which alone is timed, was not selected.
    """
    if overrides == Overrides():
        return pairs
    selected = {kernel["name"] for kernel in run["kernels"]}
    remaining = []
    for pair in pairs if "default" in run["variations"] else ():
        requests = {side: _only(request, selected) for side, request in pair.requests.items()}
        if requests["a"].kernels:
            remaining.append(dataclasses.replace(pair, requests=requests))
    return remaining


def _only(request: Request, names: set[str]) -> Request:
    return dataclasses.replace(request, kernels=tuple(name for name in request.kernels if name in names))


def _with_second_seed(requests: list[Request]) -> list[Request]:
    """Have round 1 run the second seed where no request does: the variation that was to run it is not selected."""
    if any(request.second_seed for request in requests):
        return requests
    return [dataclasses.replace(request, second_seed=request.round == 1) for request in requests]


def _variations(
    run: dict[str, Any], names: tuple[str, ...], selected: set[str], controls: set[str]
) -> dict[str, list[str]]:
    """Return the selected variations with their selected kernels."""
    variations = {}
    for variation, kernels in run["variations"].items():
        remaining = [kernel for kernel in kernels if kernel in selected]
        # an empty list means all kernels, so a variation that lost all of its kernels must go
        if variation in (names or (variation,)) and (set(remaining) - controls or not kernels):
            variations[variation] = remaining
    return variations


def names(text: str) -> tuple[str, ...]:
    """Return the comma-separated parts of a text."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check_names(names: Iterable[str], planned: Iterable[str], what: str) -> None:
    for name in names:
        if name not in planned:
            message = f"The plan of this profile has no {what} {name}."
            raise PortableError(message, f"It has: {', '.join(planned)}.", NOTHING)


def _matching(run: dict[str, Any], globs: tuple[str, ...]) -> set[str]:
    """Return the kernels, controls included, that match any of the patterns."""
    return {kernel["name"] for kernel in run["kernels"] if any(fnmatchcase(kernel["name"], glob) for glob in globs)}


def _with_kernels(request: Request, names: set[str], repetitions: int | None) -> Request:
    order = tuple(name for name in request.kernels if name in names)
    return dataclasses.replace(
        request, kernels=order, repetitions={name: repetitions or request.repetitions[name] for name in order}
    )


def _with_rounds(requests: list[Request], rounds: int) -> list[Request]:
    """Return so many rounds, in order.

    A round beyond the planned ones copies the last planned one of its parity, so that the order of the modes goes on
    to alternate; its kernels are shuffled anew.
    """
    planned = max(request.round for request in requests)
    result = []
    for number in range(1, rounds + 1):
        model = number if number <= planned else planned - (number - planned) % 2
        group = [request for request in requests if request.round == max(model, 1)]
        result += [_as_round(request, number, rounds) for request in group]
    return result


def _as_round(request: Request, number: int, rounds: int) -> Request:
    """Return a request as round ``number`` of ``rounds``, with an order of its own where it is a copy."""
    seed = request.order_seed + number - request.round
    order = request.kernels
    if number != request.round:
        order = tuple(random.Random(seed).sample(sorted(order), len(order)))  # noqa: S311 - an order, no secret
    context = {**request.context, "rounds": rounds}
    return dataclasses.replace(
        request,
        round=number,
        kernels=order,
        order_seed=seed,
        second_seed=request.second_seed and number == request.round,
        context=context,
    )
