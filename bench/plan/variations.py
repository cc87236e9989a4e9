"""Which variations exist, and on which devices they have an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.plan.config_models import variation_name
from bench.suggest import nearest
from bench.suite.variation import COMMON

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The first compute capability with TF32 (Ampere).
_TF32 = (8, 0)
#: Variations that change only what runs on the CPU.
_CPU_ONLY = frozenset({"threads", "inter", "devices", "onednn", "isa"})


def refuse_unknown(requested: Iterable[str], named: Iterable[str]) -> None:
    """Raise ConfigError for an invalid variation; it suggests one of those ``named`` in matrix.toml or a common one."""
    known = tuple(dict.fromkeys((*named, *COMMON)))
    for name in requested:
        try:
            variation_name(name)
        except ValueError as error:
            suggestion = nearest(name, known)
            hint = f"Did you mean {suggestion!r}? " if suggestion else ""
            raise ConfigError(f"--variation: {error}.", f"{hint}matrix.toml names: {', '.join(named)}.") from error


def applies(variation: str, device: str, capability: tuple[int, int] = (0, 0)) -> bool:
    """Return whether a variation has an effect on a device. ``capability`` is (0, 0) where it is not known.

    GPUs have TF32 from Ampere on. Threads, oneDNN and instruction sets concern the CPU: in a GPU column they would
    change only the little that runs on the host, at the cost of much GPU time.
    """
    key = variation.partition("=")[0]
    if device == "cpu":
        return key != "tf32"
    if key == "tf32":
        return capability == (0, 0) or capability >= _TF32
    return key not in _CPU_ONLY
