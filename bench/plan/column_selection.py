"""Select the columns of a plan: the tables of matrix.toml become pairs, and pairs on devices become columns."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench.errors import ConfigError, NothingError
from bench.plan import cuda, preflight
from bench.plan.column import Column, Pair
from bench.plan.releases import release, releases
from bench.suggest import did_you_mean
from bench.suite import oldest_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bench.gpu.facts import Gpu
    from bench.plan.config_models import Matrix, PairTable
    from bench.plan.devices import Devices

#: Names that an error message lists; the others are only counted.
_MOST_NAMES = 12


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A pair of matrix.toml, and the profiles that include it (None: all)."""

    pair: Pair
    profiles: tuple[str, ...] | None

    def in_profile(self, name: str) -> bool:
        """Return whether a profile includes the pair without ``--env``."""
        return self.profiles is None or name in self.profiles


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A column that could be selected.

    ``fits`` says whether the chosen devices run its pair, ``listed`` whether the profile includes it.
    """

    column: Column
    gpu: Gpu | None
    fits: bool
    listed: bool

    @property
    def names(self) -> tuple[str, str, str]:
        """What a glob of ``--env`` is compared with: the pair, the pair with its Python, and the column."""
        return (self.column.pair.id, self.column.pair.stem, self.column.id)

    def matches(self, glob: str) -> bool:
        return any(fnmatchcase(name, glob) for name in self.names)


def listed(matrix: Matrix) -> tuple[Listed, ...]:
    """Return all pairs of a matrix, in the order of the file.

    A pair that can never run is not an error: it has its reason in ``Pair.refused``.

    Raises:
        ConfigError: an unknown TensorFlow release, a Python without a wheel, a profile that does not exist, or two
            pairs with the same name.
    """
    listings: list[Listed] = []
    for number, table in enumerate(matrix.pairs, 1):
        _refuse_unknown_profiles(matrix, number, table)
        listings += [Listed(pair=_pair(matrix, table, minor), profiles=table.profiles) for minor in table.cuda]
    stems = [listing.pair.stem for listing in listings]
    duplicates = sorted({stem for stem in stems if stems.count(stem) > 1})
    if duplicates:
        message = f"matrix.toml names {', '.join(duplicates)} more than once."
        raise ConfigError(message, "Remove one of the pairs, or give it a name.")
    return tuple(listings)


def _pair(matrix: Matrix, table: PairTable, minor: str) -> Pair:
    facts = release(table.tensorflow)
    python = table.python or matrix.defaults.python
    name = f"tf{table.tensorflow}-{minor if minor == 'cpu' else 'cuda' + minor}"
    if oldest_versions.too_old(table.tensorflow):
        message = oldest_versions.needs(f"{name}: tfrepro", f"this is TensorFlow {table.tensorflow}")
        raise ConfigError(message, "Name a newer release in matrix.toml.")
    if facts is None:
        latest = ", ".join(known.latest for known in releases().values())
        message = f"{name}: TensorFlow {table.tensorflow} is not a release that this version knows."
        raise ConfigError(message, f"Known: {latest}. To add one, describe it in bench/plan/releases.toml.")
    if tuple(map(int, python.split("."))) < oldest_versions.PYTHON:
        message = oldest_versions.needs(f"{name}: tfrepro", f"this is Python {python}")
        raise ConfigError(message, "Name a newer python in matrix.toml.")
    if python not in facts.python:
        message = f"{name}: TensorFlow {table.tensorflow} has no wheel for Python {python}."
        raise ConfigError(message, f"Set the pair's python to one of {', '.join(facts.python)}.")
    cudnn = "" if minor == "cpu" else table.cudnn or facts.cudnn
    return Pair(
        tensorflow=table.tensorflow,
        cuda=minor,
        keras=table.keras,
        python=python,
        base=table.base or matrix.defaults.base,
        numpy=table.numpy or matrix.defaults.numpy,
        cudnn=cudnn,
        own_cudnn=minor != "cpu" and cudnn != facts.cudnn,
        kind=cuda.kind(table.tensorflow, minor, cudnn),
        refused=cuda.refusal(table.tensorflow, minor, cudnn, allow_older=table.allow_older),
        name=table.name or "",
        packages=table.packages,
    )


def _refuse_unknown_profiles(matrix: Matrix, number: int, table: PairTable) -> None:
    for name in table.profiles or ():
        if name not in matrix.profiles:
            guess = did_you_mean(name, matrix.profiles, "")
            message = f"matrix.toml: pairs[{number}] -> profiles: there is no profile {name!r}{guess}"
            raise ConfigError(message, f"matrix.toml has: {', '.join(sorted(matrix.profiles))}.")


def columns(
    matrix: Matrix, profile: str, only: tuple[str, ...], locks: Path, devices: Devices
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Return the columns of a plan, device by device in the order of the file, and notes for the user.

    Without ``only`` these are the pairs of the profile that the devices run. Each glob of ``only`` selects from the
    first of these groups in which it matches anything: the pairs of the profile; the pairs of other profiles, so that
    an opt-in pair can be named; the pairs for other devices, so that a CUDA pair on a host without a GPU becomes
    ``gpu-not-visible``. Pairs excluded by matrix.toml are never selected, nor those that a required device cannot run.

    Raises:
        NothingError: a glob matches nothing, or nothing is left.
    """
    listings = [listing for listing in listed(matrix) if included(matrix, listing.pair)]
    if not listings:
        known = _summary(listing.pair.id for listing in listed(matrix))
        raise NothingError("No pair matches include and exclude of matrix.toml.", f"There are: {known}.")
    candidates = [
        _Candidate(
            column=column,
            gpu=gpu,
            fits=devices.takes(listing.pair.cuda),
            listed=devices.kind == "any" or listing.in_profile(profile),
        )
        for device in ("cpu", *devices.gpus, None)
        for listing in listings
        for column, gpu in _on(listing.pair, device, devices, locks)
    ]
    chosen = _selected(candidates, only, devices)
    selected = tuple(
        _with_status(candidate.column, candidate.gpu, devices)
        for candidate in candidates
        if candidate.column.id in chosen
    )
    return selected, (*devices.notes, *_left_out(candidates, only, chosen, devices))


def _on(pair: Pair, device: Gpu | str | None, devices: Devices, locks: Path) -> Iterator[tuple[Column, Gpu | None]]:
    """Yield the pair's column on ``cpu``, on a GPU, or (None) where there is no GPU; nothing if it cannot run there."""
    lock = locks / f"{pair.stem}.txt"
    if isinstance(device, str):
        if pair.cuda == "cpu" and devices.kind != "gpu":
            yield Column(pair=pair, device="cpu", lock=lock, host=devices.host), None
    elif pair.cuda != "cpu" and devices.kind != "cpu":
        if device is not None:
            name = devices.names[device.uuid]
            yield Column(pair=pair, device=name, lock=lock, gpu=device.uuid, host=devices.host), device
        elif not devices.gpus:
            yield Column(pair=pair, device="gpu", lock=lock, host=devices.host), None


def _selected(candidates: list[_Candidate], only: tuple[str, ...], devices: Devices) -> set[str]:
    """Return the ids of the selected columns."""
    usual = [candidate for candidate in candidates if candidate.fits and candidate.listed]
    chosen = set() if only else {candidate.column.id for candidate in usual}
    for glob in only:
        groups = (usual, [candidate for candidate in candidates if candidate.fits], candidates)
        matches = ([candidate.column.id for candidate in group if candidate.matches(glob)] for group in groups)
        matched = next(filter(None, matches), [])
        if not matched:
            kind = {"cpu": "CPU pair", "gpu": "CUDA pair"}.get(devices.kind, "pair")
            old = re.match(r"tf(\d+\.\d+)", glob)
            if old and oldest_versions.too_old(old[1]):
                raise NothingError(
                    oldest_versions.needs(f"No {kind} matches {glob}: tfrepro", f"this is TensorFlow {old[1]}")
                )
            names = (name for candidate in candidates for name in candidate.names)
            raise NothingError(f"No {kind} matches {glob}{did_you_mean(glob, names)}", _available(usual, candidates))
        chosen.update(matched)
    if not chosen:
        raise NothingError("The profile has no pair for this device.", _available(usual, candidates))
    return chosen


def _available(usual: list[_Candidate], candidates: list[_Candidate]) -> str:
    """Return sentences that list the pairs of the profile, and those that only ``--env`` selects."""
    pairs = dict.fromkeys(candidate.column.pair.id for candidate in usual)
    others = [name for name in dict.fromkeys(candidate.column.pair.id for candidate in candidates) if name not in pairs]
    sentences = [f"There are: {_summary(pairs)}."] if pairs else []
    return " ".join([*sentences, *([f"With --env there are also: {_summary(others)}."] if others else [])])


def _summary(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    rest = f" and {len(unique) - _MOST_NAMES} more" if len(unique) > _MOST_NAMES else ""
    return ", ".join(unique[:_MOST_NAMES]) + rest


def included(matrix: Matrix, pair: Pair) -> bool:
    """Return whether ``[select]`` of a matrix includes a pair."""
    return any(fnmatchcase(pair.id, glob) for glob in matrix.select.include) and not any(
        fnmatchcase(pair.id, glob) for glob in matrix.select.exclude
    )


def _with_status(column: Column, gpu: Gpu | None, devices: Devices) -> Column:
    """Return the column with its status: why it cannot run, or what the preflight says about it."""
    status, reason, advice = "ready", "", ""
    if column.pair.refused:
        status, reason = "incompatible", column.pair.refused
    elif platform.machine() != "x86_64" or platform.system() != "Linux":
        status, reason = "incompatible", f"TensorFlow's locks are for Linux on x86_64, this is {platform.platform()}"
    elif gpu is not None:
        result = preflight.advise(column.pair, gpu, devices.survey.driver)
        advice = "" if result.text == "ok" else result.text
        if result.level == "blocked":
            status, reason, advice = "incompatible", result.text, ""
    if status == "ready" and not column.lock.is_file():
        status, reason = "build-failed", f"docker/locks has no {column.lock.name}; make it with: nox -s lock"
    elif status == "ready" and column.pair.cuda != "cpu" and gpu is None:
        status, reason = "gpu-not-visible", devices.survey.why or "no GPU was looked for"
    return replace(column, status=status, reason=reason, advice=advice)


def _left_out(candidates: list[_Candidate], only: tuple[str, ...], chosen: set[str], devices: Devices) -> Iterator[str]:
    """Yield a note about CUDA pairs that ``auto`` leaves out, so that nobody takes CPU results for a GPU's."""
    left_out = [
        candidate
        for candidate in candidates
        if candidate.listed and not candidate.fits
        if candidate.column.pair.cuda != "cpu" and candidate.column.id not in chosen
        if not only or any(candidate.matches(glob) for glob in only)
    ]
    if left_out and devices.kind == "auto":
        pairs = "1 CUDA pair is" if len(left_out) == 1 else f"{len(left_out)} CUDA pairs are"
        yield f"{pairs} left out and the CPU is measured: {devices.survey.why or 'no GPU was found'}"
