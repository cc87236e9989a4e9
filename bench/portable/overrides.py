"""What the other side may change of a bundle's plan: which kernels and variations, and how often."""

from __future__ import annotations

import argparse
import dataclasses
import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from bench.portable.errors import NOTHING, PortableError

if TYPE_CHECKING:
    from bench.suite.record import Request

_MOST = 1000


@dataclass(frozen=True)
class Wanted:
    """Patterns of kernels, names of variations, rounds and repetitions; what is empty or None stays as planned.

    ``repetitions`` are those of every kernel, of heavy ones and under every variation too.
    """

    kernels: tuple[str, ...] = ()
    variations: tuple[str, ...] = ()
    rounds: int | None = None
    repetitions: int | None = None

    @property
    def words(self) -> str:
        """As options of a command line, "" where nothing is asked for."""
        told = {
            "--kernels": ",".join(self.kernels),
            "--variation": ",".join(self.variations),
            "--rounds": self.rounds,
            "--repetitions": self.repetitions,
        }
        return "".join(f" {name} {value}" for name, value in told.items() if value)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that a ``Wanted`` comes from."""
    add = parser.add_argument
    add("--kernels", type=_names, default=(), metavar="GLOBS", help="kernels: 'matmul*,reduce*'; controls always run")
    add("--variation", type=_names, default=(), metavar="NAMES", help="these of the profile's variations: tf32=off")
    add("--rounds", type=positive, metavar="N", help="fresh processes per mode, instead of the profile's")
    add("--repetitions", type=positive, metavar="N", help="repetitions per process, of heavy kernels too")


def positive(text: str) -> int:
    """How often something is done; raises ArgumentTypeError for what matrix.toml would not take."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        message = f"{text!r} is not a number from 1 to {_MOST}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def wanted(options: argparse.Namespace) -> Wanted:
    """What the options ask for."""
    return Wanted(options.kernels, options.variation, options.rounds, options.repetitions)


def narrowed(run: dict[str, Any], requests: list[Request], want: Wanted) -> tuple[dict[str, Any], list[Request]]:
    """run.json and the rounds of a plan, changed as wanted.

    Rounds beyond the planned ones repetition those of their parity, so that modes go on to alternate, each with an order
    of its own. Raises PortableError for a name that the plan has not, and where controls alone would be left.
    """
    if want == Wanted():
        return run, requests
    variations = {name: names for name, names in run["variations"].items() if name in (want.variations or (name,))}
    _refuse(want.variations, run["variations"], "variation")
    for glob in want.kernels:
        _refuse([glob] if not _fit(run, (glob,)) else [], [one["name"] for one in run["kernels"]], "kernel")
    chosen = _fit(run, want.kernels or ("*",))
    controls = {one["name"] for one in run["kernels"] if one["control"]}
    kept = {name: [one for one in names if one in chosen | controls] for name, names in variations.items()}
    # no names at all mean all kernels, so a variation of which nothing is left must go
    variations = {name: left for name, left in kept.items() if set(left) - controls or not variations[name]}
    left = [_with(one, chosen | controls, want.repetitions) for one in requests if one.variation in variations]
    if not any(set(one.kernels) - controls for one in left):
        raise PortableError("The selection leaves no kernel to run.", "Loosen --kernels or --variation.", NOTHING)
    rounds = want.rounds or run["rounds"]
    run = {
        **run,
        "command": run["command"] + want.words,
        "rounds": rounds,
        "repetitions": want.repetitions or run["repetitions"],
        "variations": variations,
        "variation_modes": {name: run["variation_modes"][name] for name in variations},
        "kernels": [one for one in run["kernels"] if one["name"] in chosen | controls],
    }
    return run, _times(left, want.rounds) if want.rounds else left


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _refuse(names: Any, known: Any, what: str) -> None:
    for name in names:
        if name not in known:
            raise PortableError(
                f"The plan of this profile has no {what} {name}.", f"It has: {', '.join(known)}.", NOTHING
            )


def _fit(run: dict[str, Any], globs: tuple[str, ...]) -> set[str]:
    """The kernels that a pattern fits; whether controls are among them does not matter."""
    return {one["name"] for one in run["kernels"] if any(fnmatchcase(one["name"], glob) for glob in globs)}


def _with(request: Request, names: set[str], repetitions: int | None) -> Request:
    order = tuple(name for name in request.kernels if name in names)
    return dataclasses.replace(
        request, kernels=order, repetitions={name: repetitions or request.repetitions[name] for name in order}
    )


def _times(requests: list[Request], rounds: int) -> list[Request]:
    """As many rounds as wanted, in order."""
    planned = max(one.round for one in requests)
    found = []
    for number in range(1, rounds + 1):
        model = number if number <= planned else planned - (number - planned) % 2
        group = [one for one in requests if one.round == max(model, 1)]
        found += [_again(one, number, rounds) for one in group]
    return found


def _again(request: Request, number: int, rounds: int) -> Request:
    """A round of the plan, or one more like it."""
    seed = request.order_seed + number - request.round
    order = request.kernels
    if number != request.round:
        order = tuple(random.Random(seed).sample(sorted(order), len(order)))  # noqa: S311 - an order, no secret
    context = {**request.context, "rounds": rounds}
    return dataclasses.replace(
        request, round=number, kernels=order, order_seed=seed, second_seed=number == 1, context=context
    )
