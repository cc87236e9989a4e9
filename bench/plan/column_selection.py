"""The columns of a plan: the tables of matrix.toml become pairs, and pairs on devices become columns."""

from __future__ import annotations

import difflib
import platform
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench.errors import ConfigError, NothingError
from bench.plan import cuda, preflight
from bench.plan.column import Column, Pair
from bench.plan.releases import release, releases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bench.gpu.facts import Gpu
    from bench.plan.config_models import Matrix, PairTable
    from bench.plan.devices import Devices

#: Names that an error lists before it only counts.
_MANY = 12


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A pair of the file, and the profiles that take it (None: all)."""

    pair: Pair
    profiles: tuple[str, ...] | None

    def in_profile(self, name: str) -> bool:
        """Whether a profile takes the pair by itself."""
        return self.profiles is None or name in self.profiles


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A column that could be: whether its devices take it, and whether the profile lists it."""

    column: Column
    gpu: Gpu | None
    fits: bool
    listed: bool

    def matches(self, glob: str) -> bool:
        """Whether a pattern matches its pair, its pair and Python, or itself."""
        return any(fnmatchcase(name, glob) for name in (self.column.pair.id, self.column.pair.stem, self.column.id))


def listed(matrix: Matrix) -> tuple[Listed, ...]:
    """All pairs of a matrix, in its order.

    Raises:
        ConfigError: an unknown TensorFlow, a Python without a wheel, a profile that does not exist, two pairs of
            one name. A pair that is known never to run is no error: it says so itself.
    """
    found: list[Listed] = []
    for number, table in enumerate(matrix.pairs, 1):
        _refuse_unknown_profiles(matrix, number, table)
        found += [Listed(pair=_pair(matrix, table, minor), profiles=table.profiles) for minor in table.cuda]
    stems = [one.pair.stem for one in found]
    doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubles:
        raise ConfigError(f"matrix.toml names {', '.join(doubles)} more than once.", "Remove one of the pairs.")
    return tuple(found)


def _pair(matrix: Matrix, table: PairTable, minor: str) -> Pair:
    known = release(table.tensorflow)
    python = table.python or matrix.defaults.python
    name = f"tf{table.tensorflow}-{minor if minor == 'cpu' else 'cuda' + minor}"
    if known is None:
        latest = ", ".join(one.latest for one in releases().values())
        message = f"{name}: TensorFlow {table.tensorflow} is not among the releases this version knows."
        raise ConfigError(message, f"Known: {latest}. A new one gets its table in bench/plan/releases.toml.")
    if python not in known.python:
        message = f"{name}: TensorFlow {table.tensorflow} has no wheel for Python {python}."
        raise ConfigError(message, f"Set the pair's python to one of {', '.join(known.python)}.")
    cudnn = "" if minor == "cpu" else table.cudnn or known.cudnn
    return Pair(
        tensorflow=table.tensorflow,
        cuda=minor,
        keras=table.keras,
        python=python,
        base=table.base or matrix.defaults.base,
        cudnn=cudnn,
        own_cudnn=minor != "cpu" and cudnn != known.cudnn,
        kind=cuda.kind(table.tensorflow, minor, cudnn),
        refused=cuda.refusal(table.tensorflow, minor, cudnn, allow_older=table.allow_older),
    )


def _refuse_unknown_profiles(matrix: Matrix, number: int, table: PairTable) -> None:
    for name in table.profiles or ():
        if name not in matrix.profiles:
            near = difflib.get_close_matches(name, matrix.profiles, 1, 0.6)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            message = f"matrix.toml: pairs[{number}] -> profiles: there is no profile {name!r}{guess}"
            raise ConfigError(message, f"matrix.toml has: {', '.join(sorted(matrix.profiles))}.")


def columns(
    matrix: Matrix, profile: str, only: tuple[str, ...], locks: Path, devices: Devices
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns of a plan, device by device in the order of the file, and notes for people.

    A plan takes the pairs of its profile that its devices take. A pattern of ``only`` narrows them; one that matches
    none of them takes what it matches among the pairs of other profiles, so an opt-in pair runs by its name, and at
    last among those for other devices, so a CUDA pair on a host without a GPU becomes ``gpu-not-visible``. Pairs that
    matrix.toml's own ``exclude`` names, or that a demanded device cannot run, are taken by nobody.

    Raises:
        NothingError: a pattern matches nothing, or nothing is left.
    """
    rows = [one for one in listed(matrix) if included(matrix, one.pair)]
    if not rows:
        known = _few(one.pair.id for one in listed(matrix))
        raise NothingError("No pair matches include and exclude of matrix.toml.", f"There are: {known}.")
    everything = [
        _Candidate(
            column=column,
            gpu=gpu,
            fits=devices.takes(one.pair.cuda),
            listed=devices.kind == "any" or one.in_profile(profile),
        )
        for device in ("cpu", *devices.gpus, None)
        for one in rows
        for column, gpu in _on(one.pair, device, devices, locks)
    ]
    chosen = _narrowed(everything, only, devices)
    found = tuple(_evaluated(one.column, one.gpu, devices) for one in everything if one.column.id in chosen)
    return found, (*devices.notes, *_left_out(everything, only, chosen, devices))


def _on(pair: Pair, device: Gpu | str | None, devices: Devices, locks: Path) -> Iterator[tuple[Column, Gpu | None]]:
    """A pair's column on ``cpu``, on a GPU, or (None) where there is no GPU; nothing where it does not belong there."""
    lock = locks / f"{pair.stem}.txt"
    if isinstance(device, str):
        if pair.cuda == "cpu" and devices.kind != "gpu":
            yield Column(pair=pair, device="cpu", lock=lock), None
    elif pair.cuda != "cpu" and devices.kind != "cpu":
        if device is not None:
            yield Column(pair=pair, device=devices.names[device.uuid], lock=lock, gpu=device.uuid), device
        elif not devices.gpus:
            yield Column(pair=pair, device="gpu", lock=lock), None


def _narrowed(everything: list[_Candidate], only: tuple[str, ...], devices: Devices) -> set[str]:
    """Ids of the columns that are taken."""
    own = [one for one in everything if one.fits and one.listed]
    chosen = set() if only else {one.column.id for one in own}
    for glob in only:
        wider = (own, [one for one in everything if one.fits], everything)
        matched = next(filter(None, ([one.column.id for one in among if one.matches(glob)] for among in wider)), [])
        if not matched:
            what = {"cpu": "CPU pair", "gpu": "CUDA pair"}.get(devices.kind, "pair")
            raise NothingError(f"No {what} matches {glob}.", _there_are(own, everything))
        chosen.update(matched)
    if not chosen:
        raise NothingError("The profile has no pair for this device.", _there_are(own, everything))
    return chosen


def _there_are(own: list[_Candidate], everything: list[_Candidate]) -> str:
    here = dict.fromkeys(one.column.pair.id for one in own)
    more = [name for name in dict.fromkeys(one.column.pair.id for one in everything) if name not in here]
    told = [f"There are: {_few(here)}."] if here else []
    return " ".join([*told, *([f"By --env there are also: {_few(more)}."] if more else [])])


def _few(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    rest = f" and {len(found) - _MANY} more" if len(found) > _MANY else ""
    return ", ".join(found[:_MANY]) + rest


def included(matrix: Matrix, pair: Pair) -> bool:
    """Whether ``[select]`` of a matrix takes a pair."""
    return any(fnmatchcase(pair.id, glob) for glob in matrix.select.include) and not any(
        fnmatchcase(pair.id, glob) for glob in matrix.select.exclude
    )


def _evaluated(column: Column, gpu: Gpu | None, devices: Devices) -> Column:
    """The column with its status: why it cannot run, or what the preflight has to say of it."""
    status, reason, advice = "ready", "", ""
    if column.pair.refused:
        status, reason = "incompatible", column.pair.refused
    elif platform.machine() != "x86_64" or platform.system() != "Linux":
        status, reason = "incompatible", f"TensorFlow's locks are for Linux on x86_64, this is {platform.platform()}"
    elif gpu is not None:
        told = preflight.advise(column.pair, gpu, devices.survey.driver)
        advice = "" if told.text == "ok" else told.text
        if told.level == "blocked":
            status, reason, advice = "incompatible", told.text, ""
    if status == "ready" and not column.lock.is_file():
        status, reason = "build-failed", f"there is no {column.lock.name} in docker/locks; make it with: nox -s lock"
    elif status == "ready" and column.pair.cuda != "cpu" and gpu is None:
        status, reason = "gpu-not-visible", devices.survey.why or "no GPU was looked for"
    return Column(
        pair=column.pair,
        device=column.device,
        lock=column.lock,
        gpu=column.gpu,
        status=status,
        reason=reason,
        advice=advice,
    )


def _left_out(everything: list[_Candidate], only: tuple[str, ...], chosen: set[str], devices: Devices) -> Iterator[str]:
    """What ``auto`` leaves out: nobody may take a CPU's figures for a GPU's."""
    out = [
        one
        for one in everything
        if one.listed and not one.fits and one.column.pair.cuda != "cpu" and one.column.id not in chosen
        if not only or any(one.matches(glob) for glob in only)
    ]
    if out and devices.kind == "auto":
        what = "1 CUDA pair is" if len(out) == 1 else f"{len(out)} CUDA pairs are"
        yield f"{what} left out and the CPU is measured: {devices.survey.why or 'no GPU was found'}"
